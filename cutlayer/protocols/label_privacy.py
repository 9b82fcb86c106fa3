"""Label differential privacy: what a client sends as the label of a sample is drawn once, and is often another one.

S. L. Warner, "Randomized Response", JASA 1965, for K classes: the true label with probability ``e^eps / (e^eps + K -
1)``, and each other one with the same rest. For learning, B. Ghazi, N. Golowich, R. Kumar, P. Manurangsi, C. Zhang,
"Deep Learning with Label Differential Privacy", NeurIPS 2021. One draw for each sample serves the whole training, so
that epsilon does not grow with its length.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cutlayer.protocols.plan import TrainingPlan


def randomized(labels: NDArray[np.int64], classes: int, epsilon: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """The labels to send in place of these, ``(N,)``.

    Args:
        labels: ``(N,)``, from 0 to `classes` - 1.
        classes: Number of classes.
        epsilon: Epsilon of the label of one sample.
        rng: Source of the draws.
    """
    keeps = rng.random(len(labels)) < 1 / (1 + (classes - 1) * math.exp(-epsilon))
    others = (labels + rng.integers(1, max(2, classes), len(labels))) % classes
    return np.where(keeps, labels, others)


def label_guarantee(plan: TrainingPlan) -> str:
    """What randomized labels promise, and what they do not, in a sentence each; empty without them."""
    if not plan.dp.label_epsilon:
        return ""
    return (
        f"Randomized response gives epsilon {plan.dp.label_epsilon:g} for the label of one sample, over the whole "
        "training, as each is drawn once. Not protected by it are the smashed data, in which the classes show."
    )
