"""A critic for each image: copies of one critic, evaluated and trained together, each on its own image alone.

Therefore the result of an image does not depend on its batch, except for rounding.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from cutlayer.nets.wgan import BETAS

DRAWS = 4
"""Number of images of the prior in a step, for each critic."""
LR = 5e-4  # Crafter, the authors' code


class Critics:
    """Copies of a critic, one for each image.

    Args:
        critic: The critic to copy, ``(M, *image)`` -> ``(M, 1)``.
        pool: Images of the prior, ``(P, *image)``.
        random: Generator on the CPU that seeds a generator for each image, in their order.
        n: Number of images.
    """

    def __init__(self, critic: nn.Module, pool: Tensor, random: torch.Generator, n: int) -> None:
        self._pool = pool
        seeds = torch.randint(2**62, (n,), generator=random).tolist()
        self._random = [torch.Generator().manual_seed(seed) for seed in seeds]
        weights = {name: weight.detach() for name, weight in critic.named_parameters()}
        self._weights = {name: weight.repeat(n, *[1] * weight.dim()) for name, weight in weights.items()}
        self._optimizer = torch.optim.Adam(list(self._weights.values()), LR, betas=BETAS)

        def score(weights: dict[str, Tensor], images: Tensor) -> Tensor:
            scores: Tensor = functional_call(critic, weights, (images,))
            return scores[:, 0]

        def loss(weights: dict[str, Tensor], drawn: Tensor, generated: Tensor, share: Tensor, gp: float) -> Tensor:
            """The loss of one critic: WGAN-GP, as in `cutlayer.nets.wgan`."""
            between = torch.lerp(drawn, generated, share[:, None, None, None])
            gradient = grad(lambda images: score(weights, images).sum())(between)
            penalty = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
            scores = score(weights, torch.cat([drawn, generated[None]]))
            total: Tensor = gp * penalty - scores[:-1].mean() + scores[-1]
            return total

        self._score = vmap(score)
        self._gradient = vmap(grad(loss), in_dims=(0, 0, 0, 0, None))

    def __call__(self, images: Tensor) -> Tensor:
        """The score of each image, ``(N, *image)``, by its own critic, ``(N,)``; high for images of the prior."""
        scores: Tensor = self._score(self._weights, images[:, None])
        return scores[:, 0]

    def sharpen(self, generated: Tensor, gp: float, steps: int) -> None:
        """Train each critic to distinguish its image from those of the prior.

        Args:
            generated: An image for each critic, ``(N, *image)`` without a gradient.
            gp: Weight of the gradient penalty.
            steps: Number of steps of Adam.
        """
        for _ in range(steps):
            chance = torch.stack([torch.rand(2, DRAWS, generator=random) for random in self._random]).to(generated)
            drawn = self._pool[(chance[:, 0] * len(self._pool)).long()]
            slopes = self._gradient(self._weights, drawn, generated, chance[:, 1], gp)
            for name, weight in self._weights.items():
                weight.grad = slopes[name]
            self._optimizer.step()
