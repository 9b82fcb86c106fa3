"""Sampling: the surest of many images that a prior makes at random.

Nothing is searched. It is how PPA (Struppek et al., ICML 2022) and MIRROR (An et al., NDSS 2022) choose where they
start, and the floor of every attack with a prior, at as many questions: what an attack adds to it is its own.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.answers.base import ClassAttack
from cutlayer.attacks.answers.prior_of import prior_of
from cutlayer.attacks.answers.view import BATCH, ClassView, Reply
from cutlayer.errors import ConfigError
from cutlayer.options import Count, Size, Whole


@dataclass(kw_only=True)
class Sampling(ClassAttack):
    """Show those of `n` random images of a prior that the victim is surest of.

    Args:
        n: Images that are made and asked about: in all, for every class at once, unless the prior knows of classes;
            then each class has its share.
        prior: What makes them, a name in `cutlayer.attacks.answers.prior_of.PRIORS`.
        latent: Length of a latent vector, or the most that the prior can have.
        width: Channels of the prior's networks at full resolution.
        prior_steps: Training steps of the prior.
    """

    plain_words = "makes pictures at random, and shows those that the model takes most surely for the class"
    needs = Reply.SCORES
    is_floor = True

    n: Count = 2000
    prior: str = "wgan"
    latent: Size = 64
    width: Size = 8
    prior_steps: Whole = 800

    def represent(self, view: ClassView, k: int) -> Tensor:
        """See `ClassAttack`.

        Raises:
            ConfigError: Fewer images are made than are to be shown.
        """
        prior = prior_of(view, self.prior, latent=self.latent, width=self.width, steps=self.prior_steps)
        random = torch.Generator().manual_seed(view.seed)
        n = self.n // len(view.targets) if prior.conditional else self.n
        if n < k:
            raise ConfigError(
                f"{n} images are made for a class, and {k} are to be shown; raise n to "
                f"{k * (len(view.targets) if prior.conditional else 1)} or more."
            )
        shown = []
        images, scores = torch.empty(0), torch.empty(0)
        for target in view.targets:
            if prior.conditional or not len(images):
                y = torch.full((n,), target, device=view.device)
                z = prior.sample(n, y, random)
                with torch.no_grad():
                    parts = zip(z.split(BATCH), y.split(BATCH), strict=True)
                    images = torch.cat([prior.image(*part) for part in parts]).cpu()
                scores = view.service.scores(images)
            shown.append(images[scores[:, target].topk(k).indices])
        return torch.stack(shown)
