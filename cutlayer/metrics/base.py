"""What every metric is: one score for each reconstruction."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor


@dataclass(frozen=True)
class Metric:
    """How near reconstructions come to the originals.

    Attributes:
        name: As in `cutlayer.registry.METRICS`.
        unit: Of a score; empty where it has none.
        leak_when: Which scores mean that more has leaked.
        score: Reconstructions and originals, both ``(N, C, H, W)`` in [0, 1] -> ``(N,)``.
    """

    name: str
    unit: str
    leak_when: Literal["high", "low"]
    score: Callable[[Tensor, Tensor], Tensor]


def check_images(reconstructions: Tensor, originals: Tensor) -> None:
    """Reject what would be scored wrongly without a word: broadcasting shapes, bytes, unclamped reconstructions.

    Raises:
        ValueError: The shapes differ or are no images, or a value is outside [0, 1].
    """
    if reconstructions.shape != originals.shape or originals.dim() != 4:
        raise ValueError(
            f"expected twice (N, C, H, W), got {tuple(reconstructions.shape)} and {tuple(originals.shape)}"
        )
    for images in (reconstructions, originals):
        if not (images.is_floating_point() and bool(((images >= 0) & (images <= 1)).all())):
            raise ValueError("images must be floating-point and in [0, 1]; clamp a reconstruction before it is scored")
