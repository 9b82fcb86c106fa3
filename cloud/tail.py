"""The server's half of the model, as a function from smashed data to logits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import ConfigError
from cutlayer.onnx.session import open_half

Tail = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""``(N, *smashed.shape)``, which may be read-only, to ``(N, classes)``."""


class OnnxTail:
    """`tail.onnx` in ONNX Runtime."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self._run = open_half(path, threads, "smashed", "logits")

    def __call__(self, smashed: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Tail`."""
        return self._run(smashed)


class TorchTail:
    """The tail of a split folder in torch, which is imported only here."""

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        try:
            import torch
        except ImportError:
            raise ConfigError("Torch is not installed; install cutlayer[lab], or use the onnx tail.") from None
        from cutlayer.models.folder import load

        if threads:
            torch.set_num_threads(threads)
        self._torch: Any = torch
        self._tail = load(folder)[1].tail

    def __call__(self, smashed: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Tail`."""
        with self._torch.inference_mode():
            # A copy, for a tail may work in place and the bytes that arrived belong to the tap.
            return self._tail(self._torch.tensor(smashed)).numpy()  # type: ignore[no-any-return]
