"""Auxiliary inputs of another data set, in the form of the victims': an attacker has none like theirs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.images import fit
from cutlayer.data.modality import IMAGE, TOKENS
from cutlayer.data.splits import NO_CLASS, Dataset, Splits
from cutlayer.errors import ConfigError

LUMA = np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]
"""Weights of red, green and blue in gray, ITU-R 601."""


def borrowed(other: Splits, data: Splits) -> Dataset:
    """The auxiliary part of another data set in the form of the victims' data: images, or sentences of the same tokens.

    Gray is repeated for each channel, colors become gray by their luma, and sizes change as those of image files do.
    The classes stay where both data sets have the same ones, and are unknown otherwise.

    Raises:
        ConfigError: One of the two has no images, or another number of channels than 1 and 3, or they are
            sentences of other tokens.
    """
    if data.modality.name == other.modality.name == TOKENS and data.words == other.words:
        return replace(other.auxiliary, labels=_labels(other, data))
    for splits in (other, data):
        if splits.modality is not IMAGE or splits.input.shape[0] not in (1, 3):
            raise ConfigError(
                f"An attacker can hold the images of another data set where both have 1 or 3 channels; {splits.name} "
                f"has inputs of {splits.input}. Leave out auxiliary_data, or name another data set."
            )
    channels, height, width = data.input.shape
    inputs = other.auxiliary.inputs
    if inputs.shape[1] > channels:
        inputs = (inputs * LUMA).sum(axis=1, keepdims=True)
    inputs = np.stack([fit(image, height, width) for image in inputs]).repeat(channels // inputs.shape[1], axis=1)
    return replace(other.auxiliary, inputs=np.clip(inputs, 0, 1, dtype=np.float32), labels=_labels(other, data))


def _labels(other: Splits, data: Splits) -> NDArray[np.int64]:
    labels = other.auxiliary.labels
    return labels if other.classes == data.classes else np.full_like(labels, NO_CLASS)
