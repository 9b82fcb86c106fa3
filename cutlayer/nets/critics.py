"""A critic for each image: copies of one critic, evaluated and sharpened together, each on its own image alone.

So an image gets in any batch what it would get alone, but for rounding.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from cutlayer.nets.wgan import BETAS

DRAWS = 4
"""Images of the prior in a step, for each critic."""
LR = 5e-4  # Crafter, the authors' code


class Critics:
    """As many copies of a critic as there are images.

    Args:
        critic: What they begin as, ``(M, *image)`` -> ``(M, 1)``.
        pool: Images of the prior, ``(P, *image)``.
        random: On the CPU; seeds a source of chance for each image, in their order.
        n: How many.
    """

    def __init__(self, critic: nn.Module, pool: Tensor, random: torch.Generator, n: int) -> None:
        self._pool = pool
        seeds = torch.randint(2**62, (n,), generator=random).tolist()
        self._random = [torch.Generator().manual_seed(seed) for seed in seeds]
        own = {name: weight.detach() for name, weight in critic.named_parameters()}
        self._weights = {name: weight.repeat(n, *[1] * weight.dim()) for name, weight in own.items()}
        self._optimizer = torch.optim.Adam(list(self._weights.values()), LR, betas=BETAS)

        def score(weights: dict[str, Tensor], images: Tensor) -> Tensor:
            scores: Tensor = functional_call(critic, weights, (images,))
            return scores[:, 0]

        def loss(weights: dict[str, Tensor], drawn: Tensor, made: Tensor, share: Tensor, gp: float) -> Tensor:
            """Of one critic: WGAN-GP, as in `cutlayer.nets.wgan`."""
            between = torch.lerp(drawn, made, share[:, None, None, None])
            gradient = grad(lambda images: score(weights, images).sum())(between)
            penalty = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
            scores = score(weights, torch.cat([drawn, made[None]]))
            total: Tensor = gp * penalty - scores[:-1].mean() + scores[-1]
            return total

        self._score = vmap(score)
        self._gradient = vmap(grad(loss), in_dims=(0, 0, 0, 0, None))

    def __call__(self, images: Tensor) -> Tensor:
        """The score of each image, ``(N, *image)``, by its own critic, ``(N,)``; high for images of the prior."""
        scores: Tensor = self._score(self._weights, images[:, None])
        return scores[:, 0]

    def sharpen(self, made: Tensor, gp: float, steps: int) -> None:
        """Let each tell its image, ``(N, *image)`` without a gradient, from the prior's.

        Args:
            made: An image for each critic.
            gp: Weight of the gradient penalty.
            steps: Of Adam.
        """
        for _ in range(steps):
            chance = torch.stack([torch.rand(2, DRAWS, generator=random) for random in self._random]).to(made)
            drawn = self._pool[(chance[:, 0] * len(self._pool)).long()]
            slopes = self._gradient(self._weights, drawn, made, chance[:, 1], gp)
            for name, weight in self._weights.items():
                weight.grad = slopes[name]
            self._optimizer.step()
