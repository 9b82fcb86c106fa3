"""The class of all metrics: a score for each reconstruction, and the words that a report prints it with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Metric:
    """How near reconstructions come to the originals.

    Attributes:
        title: Name in a table.
        explanation: The meaning of a score in plain words, for a reader outside the field.
        leak_when: Which scores mean that more has leaked.
        measure: The arithmetic behind `score`, with the same arguments.
        unit: Unit of a printed score; empty where it has none.
        digits: Decimals of a printed score.
        factor: What a score is multiplied by before it is printed.
        modalities: Names of the kinds of inputs that can be scored, as in `cutlayer.data.modality`.
    """

    title: str
    explanation: str
    leak_when: Literal["high", "low"]
    measure: Callable[[Tensor, Tensor, Tensor], Tensor]
    unit: str = ""
    digits: int = 3
    factor: float = 1.0
    modalities: tuple[str, ...] = ("image",)

    def score(self, reconstructions: Tensor, originals: Tensor, candidates: Tensor) -> Tensor:
        """Score each reconstruction.

        Args:
            reconstructions: ``(N, *input.shape)`` in [0, 1].
            originals: The true inputs, in the same order.
            candidates: ``(M, *input.shape)``, inputs among which the original can be looked for: first the originals,
                or as many of them as there are candidates, then others.

        Returns:
            ``(N,)``, or ``(min(N, M),)`` from a metric that looks for the original among the candidates.

        Raises:
            ValueError: The two shapes differ, or a value is outside [0, 1].
        """
        if reconstructions.shape != originals.shape:
            raise ValueError(
                f"reconstructions of shape {tuple(reconstructions.shape)} cannot be scored against originals of shape "
                f"{tuple(originals.shape)}; give one reconstruction for each original"
            )
        for inputs in (reconstructions, originals):
            if not (inputs.is_floating_point() and bool(((inputs >= 0) & (inputs <= 1)).all())):
                raise ValueError("inputs must be floating-point and in [0, 1]; clamp a reconstruction before scoring")
        return self.measure(reconstructions, originals, candidates)
