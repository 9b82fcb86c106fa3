"""What an evaluation classifier makes of reconstructions: a network that is not the victim's says what it sees.

Pixels may be far from the original's where everything that matters is there. The classifier is the judge of what
matters; what it says of real images stands beside its verdict, for a bad judge finds little in good reconstructions.

IIP, image identifiability precision, is that of H. Yin et al., "See through Gradients: Image Batch Recovery via
GradInversion", CVPR 2021, https://arxiv.org/abs/2104.07586: the share of reconstructions that are identified among the
images of their class, in the features of a network. `cutlayer.metrics.identification` compares pixels, of all classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cutlayer.metrics.base import Metric

if TYPE_CHECKING:
    from torch import Tensor

    from cutlayer.metrics.judge import Judge


def recognized(reconstructions: Tensor, *_: Tensor, judge: Judge, labels: Tensor) -> Tensor:
    """Whether the classifier gives each reconstruction the true class, ``(N,)``, each 0 or 1.

    Args:
        reconstructions: ``(N, C, H, W)``.
        judge: The classifier.
        labels: ``(N or more,)``, the true classes.
    """
    classes = judge.logits(judge.features(reconstructions)).argmax(1)
    return (classes == labels[: len(classes)]).to(reconstructions.dtype)


def feature_distance(reconstructions: Tensor, originals: Tensor, *_: Tensor, judge: Judge) -> Tensor:
    """The L2 distance of each reconstruction from its original in the classifier's last features, ``(N,)``."""
    a, b = (judge.features(images) for images in (reconstructions, originals))
    return (a - b).square().sum(1).sqrt().to(reconstructions.dtype)


def identifiable(
    reconstructions: Tensor, originals: Tensor, candidates: Tensor, *, judge: Judge, labels: Tensor
) -> Tensor:
    """Whether the original is the nearest candidate of its class, by the cosine of the features.

    Args:
        reconstructions: ``(N, C, H, W)``; those whose original is no candidate are left out.
        originals: ``(N, C, H, W)``.
        candidates: ``(M, C, H, W)``, which begin with the originals, or with the first M of them.
        judge: The classifier.
        labels: ``(M or more,)``, the classes of the candidates.

    Returns:
        ``(min(N, M),)``, each 0 or 1.
    """
    from torch.nn.functional import normalize

    n, labels = len(candidates), labels[: len(candidates)]
    rebuilt, pool = (normalize(judge.features(images)) for images in (reconstructions[:n], candidates))
    likeness = rebuilt @ pool.T
    likeness[labels[: len(rebuilt), None] != labels] = -2
    nearest = candidates[likeness.argmax(1)]
    return (nearest == originals[:n]).flatten(1).all(1).to(reconstructions.dtype)


ACCURACY = Metric(
    "Recognized", "how often an evaluation classifier, not the victim's, sees the true class in the reconstruction.",
    "high", recognized, unit="%", digits=1, factor=100, of_yes_or_no=True, needs=("judge", "labels"),
)  # fmt: skip
DISTANCE = Metric(
    "Feature distance", "distance from the original in the features of an evaluation classifier; 0 is the same.",
    "low", feature_distance, needs=("judge",),
)  # fmt: skip
IIP = Metric(
    "IIP", "how often the true picture is the nearest of its class, in the features of an evaluation classifier.",
    "high", identifiable, unit="%", digits=1, factor=100, of_yes_or_no=True, needs=("judge", "labels"),
)  # fmt: skip
