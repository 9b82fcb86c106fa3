"""What a split folder answers, computed here with both its halves in ONNX Runtime."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cutlayer.models.files import HEAD_ONNX, TAIL_ONNX
from cutlayer.onnx.session import open_half

_BATCH = 16


def answers(folder: Path, images: NDArray[np.float32], threads: int = 1) -> NDArray[np.int64]:
    """The class that the model of a split folder gives to each image: ``(N, C, H, W)`` in [0, 1] to ``(N,)``."""
    head = open_half(folder / HEAD_ONNX, threads, "image", "smashed")
    tail = open_half(folder / TAIL_ONNX, threads, "smashed", "logits")
    parts = [tail(head(images[i : i + _BATCH])).argmax(1) for i in range(0, len(images), _BATCH)]
    return np.concatenate(parts)
