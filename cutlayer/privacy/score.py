"""How near reconstructions come to the truth. Nothing here can see a model."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.data.splits import Splits
from cutlayer.metrics.identification import identified
from cutlayer.metrics.image import MSE, PSNR, SSIM
from cutlayer.metrics.interval import bootstrap
from cutlayer.metrics.leakage import leakage_gain
from cutlayer.records.run import Estimate

CANDIDATES = 1000
"""At most so many private images are those among which the identification rate looks for the true one."""


@dataclass(frozen=True)
class Score:
    """How near n reconstructions come to the truth; the fields are those of `cutlayer.records.run.AttackRecord`."""

    n: int
    metrics: dict[str, Estimate]
    leakage_gain: Estimate


def row(images: Tensor, data: Splits, seed: int) -> Score:
    """Every metric with n and a 95 % interval, and the leakage gain over the mean auxiliary image.

    Args:
        images: ``(N, C, H, W)`` in [0, 1], reconstructions of the first N private images.
        data: Holds the truth, the candidates and the floor.
        seed: Of the bootstrap.
    """
    truth = torch.from_numpy(data.private.images[: len(images)])
    candidates = torch.from_numpy(data.private.images[:CANDIDATES])
    floor = torch.from_numpy(data.auxiliary.images.mean(axis=0)).expand_as(truth)
    scores = {metric.name: metric.score(images, truth) for metric in (MSE, PSNR, SSIM)}
    scores["identification"] = identified(images[:CANDIDATES], truth[:CANDIDATES], candidates)
    return Score(
        n=len(images),
        metrics={name: bootstrap(score.double().numpy(), seed) for name, score in scores.items()},
        leakage_gain=leakage_gain(scores["mse"].numpy(), MSE.score(floor, truth).numpy(), seed),
    )
