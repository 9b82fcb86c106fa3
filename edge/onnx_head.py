"""The device's half of the model in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cutlayer.onnx.session import open_half


class OnnxHead:
    """`head.onnx`: ``(N, C, H, W)`` in [0, 1] to ``(N, *smashed.shape)``.

    Args:
        path: The file.
        threads: That compute one request.

    Raises:
        SplitError: The file is missing, damaged, or no head.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._run = open_half(path, threads, "image", "smashed")

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """The smashed data of the images."""
        return self._run(images)
