"""Crafter-z: search the latent vector of an image of nobody, and release what the head makes of that image.

S. Wang, Y. Ji, J. Ma, X. Zhao, "Crafter: Facial Feature Crafting against Inversion-based Identity Theft on Deep
Models", NDSS 2024, https://arxiv.org/abs/2401.07205, appendix; code
github.com/ShimingWang98/Facial_Feature_Crafting_against_Inversion_based_Identity_Theft.

    z = argmin_z  max_D  privacy * [E D(G(z_r)) - E D(G(z))] + ||E(G(z)) - E(x)||^2,     F = E(G(z))

It needs no derivative through the attacker's search, for z is what the attacker would find. However weak `privacy` is,
a release lies on what the generator can make, so accuracy has a ceiling below that of the undefended model.

Threat model: an honest-but-curious server that holds the head and a generator of public images.

Differs from the paper: few iterations for a CPU, so a greater step of z (theirs is 5e-3, and decides the trade-off more
than beta does); terms are scaled as in `cutlayer.defenses.crafter`, so `privacy` is not on the scale of the paper's
1 / beta.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cutlayer.defenses.shared.generative import Generative
from cutlayer.options import Count, LearningRate, Size, Weight
from cutlayer.progress import track

if TYPE_CHECKING:
    from torch import Tensor

    from cutlayer.models.halves import SplitModel
    from cutlayer.nets.critics import Critics
    from cutlayer.nets.latent import Prior

CRITIC_GP = 15.0  # the authors' code


@dataclass(kw_only=True)
class CrafterZ(Generative):
    """Release what the head makes of a generated image instead: Crafter's cheaper, weaker kind (needs torch).

    Options that are not listed here are explained at `cutlayer.defenses.shared.generative.Generative`; of the
    critic the paper has 10 steps in each iteration.

    Args:
        iterations: Steps of z.
        lr: Adam's learning rate on z (paper: 0.005).
    """

    privacy: Weight = 1.0
    iterations: Count = 80
    lr: LearningRate = 0.05
    n_critic: Count = 2
    latent: Size = 64
    width: Size = 16
    prior_steps: Count = 400
    public: str = "auxiliary"

    def craft(self, split: SplitModel, prior: Prior, critics: Critics, clean: Tensor) -> Tensor:
        """``(N, *smashed.shape)`` float32 -> the same, crafted, each by its own critic."""
        import torch

        z = prior.amortizer(clean).detach().requires_grad_()
        optimizer = torch.optim.Adam([z], self.lr)
        for _ in track(range(self.iterations), "crafting the releases"):
            image = prior.generator(z)
            critics.sharpen(image.detach(), CRITIC_GP, self.n_critic)
            change = (split.head(image) - clean).square().flatten(1).mean(1) / prior.variance
            (z.grad,) = torch.autograd.grad((change - self.privacy * critics(image)).sum(), z)
            optimizer.step()
        with torch.no_grad():
            crafted: Tensor = split.head(prior.generator(z))
        return crafted

    @property
    def passes(self) -> int:
        """A forward and a backward pass in each iteration, and the release."""
        return 2 * self.iterations + 1
