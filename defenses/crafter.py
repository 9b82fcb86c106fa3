"""Crafter: optimize what leaves the device until its best reconstruction looks like an image of nobody.

S. Wang, Y. Ji, J. Ma, X. Zhao, "Crafter: Facial Feature Crafting against Inversion-based Identity Theft on Deep
Models", NDSS 2024, https://arxiv.org/abs/2401.07205; code
github.com/ShimingWang98/Facial_Feature_Crafting_against_Inversion_based_Identity_Theft.

    F* = argmin_F  max_D  privacy * [E D(G(z_r)) - E D(G(z*(F)))] + ||F - E(x)||^2        z_r ~ N(0, I)
    z*(F) = argmin_z ||E(G(z)) - F||^2                                                   the attacker's best response
    dz*/dF = -H^-1 d^2 L / dz dF,   H^-1 = a sum_j (I - a H)^j,   H = d^2 L / dz^2       (appendix C)

Generator G and critic D are a WGAN-GP of public images (`public`), z* is found as `cutlayer.nets.latent` says.

Threat model: an honest-but-curious server that holds the head and a generator of public images. Nothing binds it to
that generator, nor to the undefended head when it learns a decoder. Public images are by default those that the
attackers hold, too, disjoint from the victims': the paper's setting, in which both sides have the same public faces.

The device needs torch, the head as a module, generator, critic and amortizer, and seconds to minutes of autograd for
each release: `facts` counts the passes. No constrained device can run it;
`cutlayer.defenses.crafter_distilled` imitates it.

Differs from the paper:

- Few iterations for a CPU (paper: 450 of F, 80 of z in each, 120 Neumann terms, 10 steps of the critic). z* continues
  from the iteration before, so that few steps of z follow F.
- The utility term is divided by the variance of the smashed data, so `privacy`, the paper's 1 / beta (its script has
  beta = 10, its plots 0.5 to 10), is not on the paper's scale.
- Steps of z and of the Neumann series are the inverse of the measured curvature, not fixed numbers.
- F stays within what the head can give: nothing outside is ever sent by an honest head, and codecs rely on it.
- Each release is crafted alone, by a critic of its own, in a batch or not (paper: 128 together, whose images the
  critic's distance couples): a device sends one at a time, and an attacker learns from releases like the victim's.
- The critics compare with a fixed sample of the prior's images, a few at each step (paper: fresh ones).
- Gradients do not pass: an attacker that requires them gets the input itself (straight through). The paper's
  attackers match the undefended head to the release as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cutlayer.defenses.shared.generative import Generative
from cutlayer.options import Count, LearningRate, Size, Weight, Whole
from cutlayer.progress import track

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cutlayer.models.halves import SplitModel
    from cutlayer.nets.critics import Critics
    from cutlayer.nets.latent import Prior

CRITIC_GP = 20.0  # the authors' code


@dataclass(kw_only=True)
class Crafter(Generative):
    """Craft each release on the device, by a generative prior, against the inversion that would follow (needs torch).

    Options that are not listed here are explained at `cutlayer.defenses.shared.generative.Generative`.

    Args:
        iterations: Steps of the smashed data (paper: 450).
        lr: Adam's learning rate, in standard deviations of the smashed data (paper: 0.01 in the unit of the data, for
            more iterations).
        search: Steps of z in each iteration (paper: 80).
        terms: Terms of the Neumann series (paper: 120).
    """

    privacy: Weight = 1.0
    iterations: Count = 40
    lr: LearningRate = 0.05
    search: Whole = 3
    terms: Count = 6
    n_critic: Count = 2
    latent: Size = 64
    width: Size = 16
    prior_steps: Count = 400
    public: str = "auxiliary"

    def craft(self, split: SplitModel, prior: Prior, critics: Critics, clean: Tensor) -> Tensor:
        """``(N, *smashed.shape)`` float32 -> the same, crafted, each by its own critic."""
        import torch

        deviation = float(prior.variance.sqrt())
        crafted, z = clean.clone(), prior.amortizer(clean)
        z = prior.search(split.head, clean, z, 10 * self.search)
        optimizer = torch.optim.Adam([crafted], self.lr * deviation)
        for _ in track(range(self.iterations), "crafting the releases"):
            z = prior.search(split.head, crafted, z, self.search).requires_grad_()
            image = prior.generator(z)
            critics.sharpen(image.detach(), CRITIC_GP, self.n_critic)
            (away,) = torch.autograd.grad(-critics(image).sum(), z)
            private = implicit(prior, split.head, z, crafted, away, self.terms)
            useful = 2 * (crafted - clean) / (prior.variance * clean[0].numel())
            crafted.grad = self.privacy * private + useful
            optimizer.step()
            if (split.smashed.low, split.smashed.high) != (None, None):
                crafted.clamp_(split.smashed.low, split.smashed.high)
        return crafted

    @property
    def passes(self) -> int:
        """Passes for z at first and in each iteration, for the critic, and for the implicit gradient."""
        return 10 * self.search + self.iterations * (self.search + 2 + 2 * self.terms)


def implicit(prior: Prior, head: nn.Module, z: Tensor, smashed: Tensor, away: Tensor, terms: int) -> Tensor:
    """The gradient of a loss in the smashed data, through z*, from its gradient `away` in z, ``(N, latent)``.

    ``-away H^-1 d^2 L / dz dF``, the inverse by a Neumann series of so many terms; ``(N, *smashed.shape)``.
    """
    import torch

    from cutlayer.nets.latent import hessian

    smashed = smashed.detach().requires_grad_()
    gradient, product = hessian(prior, head, z, smashed)
    term = total = away
    for _ in range(terms):
        term = term - product(term) / prior.curvature
        total = total + term
    return -torch.autograd.grad(gradient, smashed, total / prior.curvature)[0]
