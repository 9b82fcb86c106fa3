"""The leakage gain: how much of the mean image's error an attack removes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cutlayer.metrics.interval import resampled
from cutlayer.records.run import Estimate


def leakage_gain(
    mse: NDArray[np.floating], mse_mean_image: NDArray[np.floating], seed: int, confidence: float = 0.95
) -> Estimate:
    """The share of the mean image's error that an attack removes: 0 if it learned nothing, 1 if it is exact.

    Args:
        mse: Mean squared error of each reconstruction, ``(N,)``.
        mse_mean_image: Mean squared error of the mean image for the same originals, ``(N,)``, resampled in pairs.
        seed: Seed of the resampling.
        confidence: Of the interval.
    """
    if len(mse) != len(mse_mean_image):
        raise ValueError(f"{len(mse)} and {len(mse_mean_image)} samples do not pair")
    return resampled(lambda i: 1 - mse[i].mean(axis=-1) / mse_mean_image[i].mean(axis=-1), len(mse), seed, confidence)
