"""What judges make of pictures that are to show classes: functions of verdicts and features, class by class.

There is no original beside such a picture, so nothing here compares pixels. An evaluation classifier, the judge, says
what it sees, and its features say how near a picture is to the victim's training samples, how much the pictures of a
class differ, and whether they cover the class.

KID: M. Binkowski et al., "Demystifying MMD GANs", ICLR 2018, https://arxiv.org/abs/1801.01401; its expectation does not
depend on the number of samples, as that of FID does. Precision and recall: T. Kynkaanniemi et al., NeurIPS 2019,
https://arxiv.org/abs/1904.06991. Density and coverage: M. Naeem et al., ICML 2020, https://arxiv.org/abs/2002.09797.

All features are of one judge, ``(N, D)``; a square distance is the sum over D.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from cutlayer.records.run import Estimate

NEIGHBOURS = 3
"""The k of `spread`: a ball around a sample reaches to its third neighbour."""
NAN = float("nan")


@dataclass(frozen=True)
class ClassScore:
    """What judges make of the pictures of some classes, by the names of `cutlayer.privacy.judges.MEASURES`.

    Attributes:
        targets: The classes, in order.
        metrics: The mean over the classes, with an interval by resampling of classes: k pictures of one class have much
            in common, so they are one sample.
        by_class: One value for each class; NaN where it is not known.
    """

    targets: tuple[int, ...]
    metrics: dict[str, Estimate]
    by_class: dict[str, tuple[float, ...]]


def right(logits: Tensor, target: int, top: int = 1) -> Tensor:
    """Whether the target is among the `top` greatest of each row of ``(N, classes)``, ``(N,)`` bool."""
    return (logits.topk(min(top, logits.shape[1])).indices == target).any(1)


def right_among(logits: Tensor, target: int, classes: Sequence[int]) -> Tensor:
    """Whether the target is the greatest of these classes alone, ``(N,)`` bool: what a closed judge says."""
    return torch.tensor(classes)[logits[:, list(classes)].argmax(1)] == target


def squared_distance(features: Tensor, among: Tensor) -> Tensor:
    """The square distance of each sample from the nearest of others, ``(N,)``."""
    return torch.cdist(features.double(), among.double()).min(1).values.square()


def distance_gain(distance: float, stranger: float, real: float) -> float:
    """How far a distance has come from that of the nearest stranger (0) to that of real samples of the class (1).

    Args:
        distance: Mean distance of the pictures from the nearest training sample of the class.
        stranger: That of the attacker's own samples that the victim takes most surely for the class.
        real: That of real samples of the class that the victim was not trained on.

    Returns:
        NaN where strangers are as near as real samples.
    """
    return (stranger - distance) / (stranger - real) if stranger != real else NAN


def diversity(features: Tensor) -> float:
    """The mean distance of two samples, not squared; NaN for fewer than two."""
    return float(torch.pdist(features.double()).mean())


def kid(features: Tensor, real: Tensor) -> float:
    """The kernel distance of two sets: the unbiased square MMD with the kernel ``(x.y / D + 1)^3``.

    Features are divided by the root mean square of the real ones first, so that figures of two judges can be compared.
    It may be below 0 for sets of one distribution; NaN where a set has fewer than two samples.
    """
    if min(len(features), len(real)) < 2:
        return NAN
    a, b = (x.double() / real.double().square().mean().sqrt() for x in (features, real))

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x: Tensor) -> Tensor:
        return (kernel(x, x).sum() - kernel(x, x).trace()) / (len(x) * (len(x) - 1))

    return float(within(a) + within(b) - 2 * kernel(a, b).mean())


class Spread(NamedTuple):
    """How the pictures of one class lie among its real samples.

    Attributes:
        precision: Share of the pictures within the ball of a real sample.
        recall: Share of the real samples within the ball of a picture.
        density: Number of balls of real samples around a picture, in relation to `NEIGHBOURS`; 1 for real ones.
        coverage: Share of the real samples whose own ball holds a picture.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def spread(features: Tensor, real: Tensor) -> Spread:
    """Precision, recall, density and coverage; NaN where one of the sets has too few samples for `NEIGHBOURS`.

    Coverage grows with the number of pictures, so only figures of equal numbers can be compared.
    """
    if min(len(features), len(real)) <= NEIGHBOURS:
        return Spread(NAN, NAN, NAN, NAN)
    a, b = features.double(), real.double()
    apart = torch.cdist(a, b)
    own, of_real = (torch.cdist(x, x).kthvalue(NEIGHBOURS + 1).values for x in (a, b))  # the nearest is itself
    near_real = apart <= of_real
    return Spread(
        float(near_real.any(1).double().mean()),
        float((apart <= own[:, None]).any(0).double().mean()),
        float(near_real.sum(1).double().mean() / NEIGHBOURS),
        float(near_real.any(0).double().mean()),
    )
