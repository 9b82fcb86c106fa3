"""FedInverse: GMI on the global model of a round of federated training, with images that depend little on each other.

D. Wu, J. Bai, Y. Song, J. Chen, W. Zhou, Y. Xiang, A. Sajjanhar, "FedInverse: Evaluating Privacy Leakage in Federated
Learning", ICLR 2024; code https://github.com/Jun-B0518/FedInverse at commit ebdc6da. Threat model: a participant, who
receives the model of each round. Settings: GMI's, and 0.05 times the Hilbert-Schmidt criterion of the halves of the
images (Gaussian kernel of width 5), in the normalized form that the code takes.

Differs from the paper:

- The halves are those of one class's images, whose variety is what the term is for; theirs are the halves of a batch of
  different people. The weight of the cross-entropy is that of `gmi`, for each image alone.
- The critic is the generator's own. The code loads the generator's file into it, so that it is a random one.
"""

from dataclasses import dataclass

from torch import nn

from cutlayer.attacks.answers.gmi import Gmi
from cutlayer.attacks.answers.prior_of import TAUGHT
from cutlayer.attacks.answers.view import ClassView
from cutlayer.errors import ConfigError
from cutlayer.options import Count, Weight, Whole


@dataclass(kw_only=True)
class FedInverse(Gmi):
    """Search latent vectors of a generator through the model of one round.

    Args:
        round: Number of the model among those that the attacker holds, from 1; 0 for the last.
    """

    plain_words = "changes generated pictures until the model of a round is sure of the class, and keeps them different"

    diversity: Weight = 0.05
    candidates: Count = 1
    round: Whole = 0

    def through(self, view: ClassView) -> tuple[nn.Module, ...]:
        """The model of the round.

        Raises:
            ConfigError: The attacker does not hold so many, or the prior learns from a later one.
        """
        if self.round > len(view.models):
            raise ConfigError(f"round = {self.round} is asked for, and the attacker holds {len(view.models)} models.")
        if self.round not in (0, len(view.models)) and self.prior in TAUGHT:
            raise ConfigError(
                f"The prior {self.prior!r} learns from the model of the last round, which says nothing of round "
                f"{self.round}; take wgan, linear or pixels."
            )
        return (view.models[self.round - 1],)
