"""The leakage gain: how much of the mean image's error an attack removes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cutlayer.metrics.interval import resampled
from cutlayer.records.run import Estimate


def leakage_gain(mse: NDArray[np.floating], mse_mean_image: NDArray[np.floating], seed: int) -> Estimate:
    """How much of the mean image's error an attack removes: 0 where it learned nothing, 1 where it knows all.

    Args:
        mse: ``(N,)``, of the attack's reconstructions.
        mse_mean_image: ``(N,)``, of the mean image against the same originals; the two are resampled in pairs.
        seed: Of the resampling.
    """
    if len(mse) != len(mse_mean_image):
        raise ValueError(f"{len(mse)} and {len(mse_mean_image)} samples do not pair")
    return resampled(lambda i: 1 - mse[i].mean(axis=-1) / mse_mean_image[i].mean(axis=-1), len(mse), seed)
