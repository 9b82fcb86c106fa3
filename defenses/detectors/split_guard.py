"""SplitGuard: some batches are sent with wrong labels, for which an honest server's gradients point elsewhere.

E. Erdogan, A. Küpçü, A. E. Çiçek, "SplitGuard: Detecting and Mitigating Training-Hijacking Attacks in Split Learning",
WPES 2022; the notebook of github.com/ege-erdogan/splitguard @c29acbe. F are the first layer's gradients of fake
batches, R1 and R2 those of a random halving of the others, R both. With

    s = angle(F, R) | |F| - |R| | / D - angle(R1, R2) | |R1| - |R2| | / D,

of mean vectors and mean lengths, D the sum of both numerators, the score is ``sigmoid(5 s)^2``: near 1 for an honest
server.

Threat model: a server that answers with gradients of something else than the task, and does not look at the labels. One
that does, as `cutlayer.attacks.training.split_spy`, is not found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cutlayer.defenses.detectors.base import Detector, Watched
from cutlayer.options import Share, Weight, Whole

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True)
class SplitGuard(Detector):
    """Send wrong labels now and then, and compare the gradients that come back with the others.

    Args:
        share: Share of the batches that are fake.
        start: Number of batches before the first fake one.
        most: Number of the last gradients of either kind that are kept.
    """

    plain_words = "sends wrong labels now and then, and checks that the gradients differ"
    probes = True

    share: Share = 0.1
    start: Whole = 20
    most: Whole = 50
    threshold: Weight = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._fake: list[np.ndarray] = []
        self._real: list[np.ndarray] = []
        self._halving = np.random.default_rng(0)

    def sent_labels(self, labels: Tensor, classes: int, step: int, rng: np.random.Generator) -> Tensor:
        """All labels moved on by one number of classes, in a fake batch."""
        if classes < 2 or step < self.start or rng.random() >= self.share:
            return labels
        return (labels + int(rng.integers(1, classes))) % classes

    def watch(self, step: Watched) -> float | None:
        """See the base; 1 less the score, where a fake batch has just been answered."""
        kept = self._fake if step.is_fake else self._real
        kept.append(step.first_layer.detach().flatten().cpu().double().numpy())
        del kept[: -self.most]
        if not step.is_fake or len(self._real) < 4:
            return None
        order = self._halving.permutation(len(self._real))
        halves = [np.stack([self._real[k] for k in half]) for half in np.array_split(order, 2)]
        fake, real = np.stack(self._fake), np.stack(self._real)
        apart, within = _difference(fake, real), _difference(*halves)
        whole = apart + within
        s = (apart - within) / whole if whole > 0 else 0.0
        return 1 - (1 / (1 + math.exp(-5 * s))) ** 2


def _difference(first: np.ndarray, second: np.ndarray) -> float:
    """Angle between the mean vectors times the difference of the mean lengths."""
    a, b = first.mean(0), second.mean(0)
    cosine = a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-30)
    lengths = [np.linalg.norm(of, axis=1).mean() for of in (first, second)]
    return float(np.arccos(np.clip(cosine, -1, 1)) * abs(lengths[0] - lengths[1]))
