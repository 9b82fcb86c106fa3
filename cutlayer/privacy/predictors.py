"""Cheap numbers that may predict what attacks find: bounds and estimates that need no attack, each with assumptions.

They are computed at the attacker's images, from the law of a release (`Defense.density`) and its derivatives:

- ``dfil``, the Fisher information leakage per pixel, ``trace I(x) / d`` with ``I = J^T J / sigma^2`` for Gaussian noise
  (C. Guo et al., "Bounding Training Data Reconstruction in Private (Deep) Learning", ICML 2022,
  https://arxiv.org/abs/2201.12383; K. Maeng et al., "Bounding the Invertibility of Privacy-preserving Instance Encoding
  using Fisher Information", NeurIPS 2023, https://arxiv.org/abs/2305.04146). The mean squared error of an attacker
  without bias is at least 1 / dfil. No good attacker is without bias, for there are pictures that do not occur.
- ``van_trees``, the same for any attacker who knows how pictures are distributed (H. L. van Trees, 1968): the matrix of
  errors is at least ``(E I + S)^-1``, here in the principal directions of the images, where S is the inverse of their
  variances. It is a bound where pictures are normally distributed, which they are not.
- ``nats``, the mutual information of picture and release if what is sent and the noise were normally distributed. The
  covariance is estimated from `IMAGES`, so that it is too low where more numbers are sent.
- ``conditional_entropy``, the bound of S. Xia et al., CVPR 2025, https://arxiv.org/abs/2503.00383, on the error,
  ``exp(2 H(x|z) / d) / (2 pi e)``, with H(x|z) = H(x) - nats, for normally distributed pictures.

All but ``dfil`` and ``nats`` are stated as the greatest leakage gain that they allow. They say nothing of a defense
that adds no noise: its Fisher information is infinite, and what a head passes on is in `cutlayer.privacy.spectrum`.
"""

import copy
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cutlayer.defenses.base import Defense
from cutlayer.defenses.shared.density import Density
from cutlayer.privacy.spectrum import STEP, directions
from cutlayer.records.run import Predictors

POINTS, PROBES = 8, 4
"""Images at which the trace of the Fisher information is taken, and random directions at each."""
PRIOR_POINTS = 2
"""Images at which it is taken in every principal direction."""
IMAGES, LEAST_IMAGES = 1024, 64
"""Images from which the covariance of what is sent is estimated, at most and at least."""
VALUES = 1 << 24
"""Numbers that these images, and what is sent for them, have at most; bounds memory and time at large images."""
CHUNK = 64
"""Images in a batch."""

Law = Callable[[Tensor], Density]


@torch.inference_mode()
def predictors(head: nn.Module, defense: Defense, images: NDArray[np.float32], seed: int) -> Predictors | None:
    """The numbers for a head with its defense; None where the defense states no density, or is slow.

    Args:
        head: The head as deployed, in eval mode.
        defense: The defense, ready to protect.
        images: ``(N, *input.shape)`` in [0, 1], like the victims' but not theirs.
        seed: Seed of the random directions.
    """
    exact = copy.deepcopy(head).cpu().double().eval()
    if defense.slow or (first := defense.density(exact(torch.from_numpy(images[:1]).double()))) is None:
        return None
    size = max(images[0].size, first.mean[0].numel())
    own = torch.from_numpy(images[: min(IMAGES, max(LEAST_IMAGES, VALUES // size))]).double()

    def law(batch: Tensor) -> Density:
        density = defense.density(exact(batch))
        assert density is not None
        return density

    pixels, variance = own[0].numel(), own.var(0).sum()
    rng = torch.Generator().manual_seed(seed)
    signs = torch.randint(2, (PROBES, *own.shape[1:]), generator=rng).double() * 2 - 1
    traces = [_fisher(law, point, signs).diagonal().mean() for point in own[:POINTS]]
    dfil = float(torch.stack(traces).mean()) / pixels

    basis, _ = directions(images)
    spread = own.flatten(1).sub(own.flatten(1).mean(0)).matmul(basis.flatten(1).T).var(0).clamp(min=1e-12)
    information = torch.stack([_fisher(law, point, basis) for point in own[:PRIOR_POINTS]]).mean(0)
    left = torch.linalg.inv(information + (1 / spread).diag()).diagonal().sum()

    nats = _nats([law(batch) for batch in own.split(CHUNK)])
    per_direction = torch.exp(spread.log().mean() - 2 * nats / len(spread))
    return Predictors(
        n=len(own),
        dfil=dfil,
        van_trees=float(1 - left / variance),
        nats=float(nats),
        conditional_entropy=float(1 - len(spread) * per_direction / variance),
    )


def _fisher(law: Law, point: Tensor, steps: Tensor) -> Tensor:
    """The Fisher information of a release of an image ``(C, H, W)``, in directions ``(K, C, H, W)``: ``(K, K)``.

    Of an element with mean m and scale s it is ``m' m'^T / s^2``, plus ``2 s' s'^T / s^2`` where the noise is Gaussian
    and its scale depends on the image. Derivatives are central differences.
    """
    parts, scale = list[Tensor](), torch.as_tensor(law(point[None]).scale, dtype=torch.float64)
    for step in (STEP * steps).split(CHUNK):
        ahead, behind = law(point + step), law(point - step)
        changes = [(ahead.mean - behind.mean) / scale]
        if not ahead.same_scale:
            changes.append(2**0.5 * (ahead.scale - behind.scale) / scale)
        parts.append(torch.cat([change.flatten(1) for change in changes], 1) / (2 * STEP))
    rows = torch.cat(parts)
    information: Tensor = rows @ rows.T
    return information


def _nats(laws: list[Density]) -> Tensor:
    """Mutual information of input and release in nats, if what is sent and the noise were normally distributed."""
    variances = [torch.as_tensor(law.scale, dtype=torch.float64).expand_as(law.mean).square().mean(0) for law in laws]
    noise = torch.stack(variances).mean(0).flatten() * (2 if laws[0].family == "laplace" else 1)
    sent = torch.cat([law.mean for law in laws]).flatten(1)
    sent = (sent - sent.mean(0)) / noise.sqrt()
    small = sent @ sent.T if len(sent) < sent.shape[1] else sent.T @ sent
    doubled: Tensor = torch.linalg.slogdet(torch.eye(len(small), dtype=small.dtype) + small / (len(sent) - 1))[1]
    return doubled / 2
