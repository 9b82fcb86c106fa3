"""FedInverse: GMI on the global model of a round of federated training, with a term for the dependence of the images.

D. Wu, J. Bai, Y. Song, J. Chen, W. Zhou, Y. Xiang, A. Sajjanhar, "FedInverse: Evaluating Privacy Leakage in Federated
Learning", ICLR 2024; code https://github.com/Jun-B0518/FedInverse at commit ebdc6da. Threat model: a participant, who
receives the model of each round. Settings: GMI's, and 0.05 times the Hilbert-Schmidt criterion of the halves of the
images (Gaussian kernel of width 5), in the normalized form that the code takes.

Differs from the paper:

- The halves are those of one class's images, whose variety is what the term is for; theirs are the halves of a batch of
  different people. The weight of the cross-entropy is that of `gmi`, for each image alone.
- The term is least where all images of a half are alike. It does not keep them different, as is meant: on MNIST 5 to 9
  from 0 to 4, with 100 images and the linear prior, 0.05 changes nothing, and 20 lowers the mean distance of two images
  of a class from 9.3 to 6.5 in a judge's features.
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

    plain_words = "changes generated pictures until the model of a round of a training is sure of the class"

    diversity: Weight = 0.05
    candidates: Count = 1
    round: Whole = 0

    def through(self, view: ClassView) -> tuple[nn.Module, ...]:
        """The model of the round.

        Raises:
            ConfigError: The attacker does not hold so many, or the prior learns from a later one.
        """
        if self.round > len(view.models):
            held = f"{len(view.models)} model{'s'[: len(view.models) != 1]}"
            raise ConfigError(f"round = {self.round} is asked for, and the attacker holds {held}.")
        if self.round not in (0, len(view.models)) and self.prior in TAUGHT:
            raise ConfigError(
                f"The prior {self.prior!r} learns from the model of the last round, which says nothing of round "
                f"{self.round}; take wgan, linear or pixels."
            )
        return (view.models[self.round - 1],)
