"""The device's half of the model in torch, for devices that have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import ConfigError


class TorchHead:
    """The head of a split folder: ``(N, C, H, W)`` in [0, 1] to ``(N, *smashed.shape)``.

    Torch is imported only here.

    Args:
        folder: The split folder, whole.
        threads: That compute one request; a setting of the whole process.

    Raises:
        ConfigError: Torch is not installed.
        SplitError: The folder is damaged.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        try:
            import torch
        except ImportError:
            raise ConfigError("Torch is not installed; install cutlayer[lab], or use the onnx head.") from None
        from cutlayer.models.folder import load

        torch.set_num_threads(threads)
        self._torch: Any = torch
        self._head = load(folder)[1].head

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """The smashed data of the images."""
        with self._torch.inference_mode():
            return self._head(self._torch.tensor(images)).numpy()  # type: ignore[no-any-return]
