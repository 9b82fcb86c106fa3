"""PPDG-MI: the generator is trained further on what a search has found, and searched again.

X. Peng, B. Han, F. Yu, T. Liu, F. Liu, M. Zhou, "Pseudo-Private Data Guided Model Inversion Attacks", NeurIPS 2024.
From the description: the distribution of the attacker's own images is not that of the private ones, and pictures which
a search has found lie between the two; a generator that was tuned on them draws more of their kind.

Differs from the paper: the generator is tuned for all classes together, against its critic (`cutlayer.nets.wgan`), on
the surest pictures of each class. The search is `margin`.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.answers.margin import Margin
from cutlayer.attacks.answers.view import ClassView
from cutlayer.errors import ConfigError
from cutlayer.nets import wgan
from cutlayer.nets.priors import Wgan
from cutlayer.options import Count, Whole


@dataclass(kw_only=True)
class PPDGMI(Margin):
    """Search, train the generator on what was found, and search again.

    Args:
        refits: Times that the generator is trained on what was found.
        refit_steps: Steps of the generator each time.
        lessons: Pictures of each class that it is trained on.
    """

    plain_words = "retrains the drawing network on the pictures that a first search has found, and searches again"

    refits: Count = 1
    refit_steps: Whole = 100
    lessons: Count = 20

    def represent(self, view: ClassView, k: int) -> Tensor:
        """See the base.

        Raises:
            ConfigError: The prior is no generator with a critic.
        """
        prior = copy.deepcopy(self.made_prior(view))
        if not isinstance(prior, Wgan):
            raise ConfigError(f"ppdg-mi trains a generator against its critic; {self.prior!r} is none, take 'wgan'.")
        random = torch.Generator().manual_seed(view.seed)
        for _ in range(self.refits):
            pictures = self.found(view, prior, self.lessons).flatten(0, 1).to(view.device)
            prior.requires_grad_(True)
            wgan.train(prior.generator, prior.critic, pictures, prior.latent, self.refit_steps, random)
            prior.requires_grad_(False)
        return self.found(view, prior, k)
