"""Boundary repulsion: away from where the victim's answer turns, by labels alone.

    z <- clip(z - step * mean_i u_i [T(G(z + R u_i)) != y]),    u_i on the unit sphere,    step = min(R / 3, 3)

M. Kahla, S. Chen, H. A. Just, R. Jia, "Label-Only Model Inversion Attacks via Boundary Repulsion", CVPR 2022,
https://arxiv.org/abs/2203.01925, Algorithm 1. The radius R grows once nearly all of the sphere is of the class. Read:
the authors' code, m-kahla/Label-Only-Model-Inversion-Attacks-via-Boundary-Repulsion at 8a2e200.

Differs from the paper:

- Every class is attacked. Their code takes the first 300 classes that random images happen to hit. A class that is
  never hit is shown as images of other classes, and so counts as missed.
- A step that would leave the class is not taken, and counts as a step. In their code it does not, and the search may
  never end.
- 60 steps in place of up to 1,000 at each radius.

Threat model: the attacker asks for labels, and has a generator of the domain.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from cutlayer.attacks.answers import asked
from cutlayer.attacks.answers.first_hit import hits
from cutlayer.attacks.answers.view import ClassView, Reply
from cutlayer.options import Count, Share, Size, Weight, Whole

_STARTS = 1 / 4
"""Share of a budget that the search for starts takes at most."""
_STEP, _LONGEST = 1 / 3, 3.0
"""Length of a step over the radius, and the greatest length; the authors' code."""


@dataclass(kw_only=True)
class BrepMi(asked.Asking):
    """Move latent vectors away from where the victim's label turns, on ever larger spheres.

    Each sample begins at a draw of the prior that the victim takes for the class (see `first-hit`), and each step asks
    `points` + 1 questions. Where the service has a budget, a quarter of it at most finds the starts, and the rest is
    spent on as many steps as it pays for, whatever `steps` says.

    Args:
        draws: Greatest number of draws in search of starts, for all classes together.
        steps: Steps of each sample without a budget.
        points: Points on a sphere.
        radius: The first radius.
        growth: Factor by which a radius grows.
        enough: The radius grows if more than this share of the points is of the class.
        bound: Greatest absolute value of a coordinate of a latent vector.
    """

    plain_words = "moves generated images away from where the model's label turns"
    needs = Reply.LABEL

    draws: Count = 4000
    steps: Whole = 60
    points: Size = 32
    radius: Weight = 2.0
    growth: Weight = 1.3
    enough: Share = 0.875
    bound: Weight = 1.5

    def represent(self, view: ClassView, k: int) -> Tensor:
        """See `ClassAttack`."""
        prior, random = self.made_prior(view), torch.Generator().manual_seed(view.seed)
        draws = asked.within(view, _STARTS, self.draws)
        z, reached = hits(view, prior, k, draws, random, self.bound)
        hit, targets = reached > 0, torch.tensor(view.targets)
        spheres = int(hit.sum()) * k
        if not spheres:
            return asked.images(prior, z)
        each = spheres * (self.points + 1)
        steps = self.steps if view.service.left == float("inf") else int(view.service.left) // each
        y = targets[hit].repeat_interleave(k)

        def inside(points: Tensor) -> Tensor:
            return asked.labels(view, prior, points) == y.unsqueeze(1)

        found, _ = repelled(
            inside,
            z[hit].flatten(0, 1),
            steps,
            random,
            points=self.points,
            radius=self.radius,
            growth=self.growth,
            enough=self.enough,
            bound=self.bound,
        )
        z[hit] = found.unflatten(0, (-1, k))
        return asked.images(prior, z)


def repelled(
    inside: Callable[[Tensor], Tensor],
    z: Tensor,
    steps: int,
    random: torch.Generator,
    *,
    points: int = 32,
    radius: float = 2.0,
    growth: float = 1.3,
    enough: float = 0.875,
    bound: float = 1.5,
) -> tuple[Tensor, Tensor]:
    """Latent vectors farther within their classes, ``(N, latent)``, and the last radius of each, ``(N,)``.

    Args:
        inside: Points ``(N, P, latent)`` to whether each is of the class of its row, ``(N, P)`` bool; each is asked
            about once.
        z: Starts of the classes, ``(N, latent)``.
        steps: Number of steps, each of which asks about `points` + 1 points of each row.
        random: Source of the directions.
        points: Points on a sphere.
        radius: The first radius.
        growth: Factor by which a radius grows.
        enough: The radius grows if more than this share of the points is of the class.
        bound: Greatest absolute value of a coordinate.
    """
    radii = torch.full((len(z),), radius)
    for _ in range(steps):
        directions = normalize(torch.randn(len(z), points, z.shape[1], generator=random), dim=2)
        within = inside(z.unsqueeze(1) + radii.view(-1, 1, 1) * directions)
        radii = torch.where(within.float().mean(1) > enough, growth * radii, radii)
        away = -(directions * ~within.unsqueeze(2)).mean(1)
        moved = (z + (_STEP * radii).clamp(max=_LONGEST).unsqueeze(1) * away).clamp(-bound, bound)
        z = torch.where(inside(moved.unsqueeze(1)), moved, z)
    return z, radii
