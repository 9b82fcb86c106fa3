"""Similarities of the gradients of one batch: those of samples of one class are alike, if the server learns the task.

Y. Fu, S. Zhong, R. Li, Y. Chen, Y. Xu, X. Xiao, Y. Zhang, "Focusing on Pinocchio's Nose: A Gradients Scrutinizer to
Thwart Split-Learning Hijacking Attacks Using Intrinsic Attributes", NDSS 2023; github.com/chaoge123456 @f6f4821. Of
``c = (1 + cos) / 2`` of every two samples of a batch, s is the mean over pairs of one label, d over pairs of two
labels. `Gap` watches ``(s - d) / (s + d)``; `Scrutinizer` also watches how far the gap strays from a quadratic fit over
its history, and how far the intervals of mean and deviation of both kinds overlap.

Threat model: a server that answers with gradients of something else than the task.

Differs from the paper: the samples' gradients are those at the cut, which the client has for nothing, in place of those
of its parameters. The released code states no joint score; here the suspicion is the mean of the three, each in [0, 1].
Its overlap counts the lesser of both upper ends for honest gradients and the greater for others; here it is the length
of the part that both intervals share over that of the shorter interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cutlayer.defenses.detectors.base import Detector, Watched
from cutlayer.options import Count, Weight

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True)
class Gap(Detector):
    """Suspect a server whose gradients of one class are no more alike than those of two classes.

    Args:
        window: Number of the last steps over which the gap is averaged.
    """

    plain_words = "checks that gradients of one class resemble each other more than those of two classes"
    reads_first_layer = False

    window: Count = 20
    threshold: Weight = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        self._gaps: list[float] = []

    def watch(self, step: Watched) -> float | None:
        """See the base; 1 less the mean gap."""
        pairs = similarities(step.gradient, step.true_labels)
        if step.is_fake or pairs is None:
            return None
        self._gaps.append(gap(*pairs))
        return 1 - float(np.mean(self._gaps[-self.window :]))


@dataclass(kw_only=True)
class Scrutinizer(Detector):
    """Suspect a server by the gap, its error of fit, and the overlap of the similarities.

    Args:
        window: Number of the last steps over which gap and overlap are averaged.
    """

    plain_words = "checks the gap between gradients of one class and of two, its course, and the overlap of both"
    reads_first_layer = False

    window: Count = 20
    threshold: Weight = 0.53

    def __post_init__(self) -> None:
        super().__post_init__()
        self._gaps: list[float] = []
        self._overlaps: list[float] = []

    def watch(self, step: Watched) -> float | None:
        """See the base; the mean of 1 less the gap, the root mean squared error of the fit, and the overlap."""
        pairs = similarities(step.gradient, step.true_labels)
        if step.is_fake or pairs is None:
            return None
        self._gaps.append(gap(*pairs))
        self._overlaps.append(overlap(*pairs))
        if len(self._gaps) < 4:
            return None
        history = np.array(self._gaps)
        place = np.linspace(-1, 1, len(history))
        error = history - np.polyval(np.polyfit(place, history, 2), place)
        near = [float(np.mean(values[-self.window :])) for values in (self._gaps, self._overlaps)]
        return (1 - near[0] + min(1.0, float(np.sqrt((error**2).mean()))) + near[1]) / 3


def similarities(gradient: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray] | None:
    """``(1 + cos) / 2`` of all pairs of one label and of two labels; None where a batch lacks one of both."""
    rows = gradient.detach().flatten(1)
    unit = rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-30)
    alike = labels[:, None] == labels
    first, second = np.triu_indices(len(rows), 1)
    cosines = ((1 + unit @ unit.T) / 2).cpu().double().numpy()[first, second]
    same = alike.cpu().numpy()[first, second]
    if same.all() or not same.any():
        return None
    return cosines[same], cosines[~same]


def gap(same: np.ndarray, different: np.ndarray) -> float:
    """``(s - d) / (s + d)`` of the means."""
    s, d = float(same.mean()), float(different.mean())
    return (s - d) / max(s + d, 1e-12)


def overlap(same: np.ndarray, different: np.ndarray) -> float:
    """The share of the shorter interval, mean plus and minus one deviation, that both intervals have in common."""
    ends = [(float(of.mean() - of.std()), float(of.mean() + of.std())) for of in (same, different)]
    common = min(high for _, high in ends) - max(low for low, _ in ends)
    shorter = min(high - low for low, high in ends)
    return max(0.0, min(1.0, common / shorter)) if shorter > 0 else float(common >= 0)
