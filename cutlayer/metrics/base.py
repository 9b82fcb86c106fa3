"""The class of all metrics: a score for each reconstruction, and the words that a report prints it with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cutlayer.metrics.weights import WeightsFile

if TYPE_CHECKING:
    from torch import Tensor

    from cutlayer.data.modality import Column
    from cutlayer.metrics.judge import Judge


@dataclass(frozen=True)
class Context:
    """What some metrics take beside the images; each states in `Metric.needs` what it takes.

    Attributes:
        prior: The mean of the attacker's own images, ``(*input.shape)``: the guess of who has seen no release.
        labels: The true classes of the originals and of the candidates, ``(max(N, M),)``.
        judge: An evaluation classifier.
        columns: The columns of a table.
        seen: Which tokens occur in the attacker's own sentences, by id.
        embed: The vectors of a model for inputs, ``(N, *input.shape)`` to ``(N, D)``.
    """

    prior: Tensor | None = None
    labels: Tensor | None = None
    judge: Judge | None = None
    columns: tuple[Column, ...] | None = None
    seen: Tensor | None = None
    embed: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Metric:
    """How near reconstructions come to the originals.

    Attributes:
        title: Name in a table.
        explanation: The meaning of a score in plain words, for a reader outside the field.
        leak_when: Which scores mean that more has leaked.
        measure: The arithmetic behind `score`, with the same three arguments, and as keywords those that `needs` names,
            and the path ``weights`` where the metric has a file of weights.
        unit: Unit of a printed score; empty where it has none.
        digits: Decimals of a printed score.
        factor: What a score is multiplied by before it is printed.
        modalities: Names of the kinds of inputs that can be scored, as in `cutlayer.data.modality`.
        of_yes_or_no: Whether each score is 0 or 1, so that the mean is a share and its interval exact.
        of_set: Whether there is one score for all reconstructions together, and not one for each.
        fewest: Number of reconstructions below which the score of the set is biased.
        needs: Names of the fields of `Context` that `measure` takes.
        weights: File of the published network that measures; None where there is no network.
    """

    title: str
    explanation: str
    leak_when: Literal["high", "low"]
    measure: Callable[..., Tensor]
    unit: str = ""
    digits: int = 3
    factor: float = 1.0
    modalities: tuple[str, ...] = ("image",)
    of_yes_or_no: bool = False
    of_set: bool = False
    fewest: int = 0
    needs: tuple[str, ...] = ()
    weights: WeightsFile | None = None

    def score(
        self,
        reconstructions: Tensor,
        originals: Tensor,
        candidates: Tensor,
        context: Context | None = None,
        weights_root: Path | None = None,
    ) -> Tensor:
        """Score each reconstruction, or all of them together.

        Args:
            reconstructions: ``(N, *input.shape)`` in [0, 1], or ids of tokens.
            originals: The true inputs, in the same order.
            candidates: ``(M, *input.shape)``, inputs among which the original can be looked for: first the originals,
                or as many of them as there are candidates, then others.
            context: What the metric needs beside the images.
            weights_root: Folder of published weights; see `cutlayer.metrics.weights.weights_root`.

        Returns:
            ``(N,)``; ``(min(N, M),)`` from a metric that looks for the original among the candidates; ``()`` from one
            that scores the set.

        Raises:
            ValueError: The two shapes differ, or a value is outside [0, 1].
            ConfigError: The file of weights is missing or damaged.
        """
        if reconstructions.shape != originals.shape:
            raise ValueError(
                f"reconstructions of shape {tuple(reconstructions.shape)} cannot be scored against originals of shape "
                f"{tuple(originals.shape)}; give one reconstruction for each original"
            )
        for inputs in (reconstructions, originals):
            if "tokens" in self.modalities:
                continue
            if not (inputs.is_floating_point() and bool(((inputs >= 0) & (inputs <= 1)).all())):
                raise ValueError("inputs must be floating-point and in [0, 1]; clamp a reconstruction before scoring")
        more = {name: getattr(context or Context(), name) for name in self.needs}
        if self.weights is not None:
            more["weights"] = self.weights.path(weights_root)
        return self.measure(reconstructions, originals, candidates, **more)
