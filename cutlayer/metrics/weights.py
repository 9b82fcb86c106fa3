"""Published weights of the networks that some metrics measure with. A file is read where it lies, never downloaded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cutlayer.bounded import check_regular, read_arrays, reason
from cutlayer.data.load import data_root
from cutlayer.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


def weights_root(root: Path | None = None) -> Path:
    """The folder of published weights.

    It is the argument, else the environment variable CUTLAYER_WEIGHTS, else the folder ``weights`` in `data_root`.
    """
    return Path(root or os.environ.get("CUTLAYER_WEIGHTS") or data_root() / "weights")


@dataclass(frozen=True)
class WeightsFile:
    """A file of published weights.

    Attributes:
        names: Names under which it is looked for in the folder of weights, the first found counts.
        source: Where it is obtained.
    """

    names: tuple[str, ...]
    source: str

    def found(self, root: Path | None = None) -> Path | None:
        """The file in the folder of weights; None if there is none."""
        paths = (weights_root(root) / name for name in self.names)
        return next((path for path in paths if path.is_file()), None)

    def missing(self, root: Path | None = None) -> str:
        """A sentence that says what is missing, where it is looked for, and where it is obtained."""
        return (
            f"{weights_root(root)} holds no {' or '.join(self.names)}; name the folder that does with --weights-root "
            f"or CUTLAYER_WEIGHTS ({self.source})"
        )

    def path(self, root: Path | None = None) -> Path:
        """The file in the folder of weights.

        Raises:
            ConfigError: There is none.
        """
        found = self.found(root)
        if found is None:
            raise ConfigError(f"{self.missing(root)}.")
        return found


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of an .npz file, or of one that `torch.save` wrote, by name.

    Raises:
        ConfigError: The file is damaged, or holds something else.
    """
    import torch

    try:
        check_regular(path)
        if path.suffix == ".npz":
            return {name: torch.from_numpy(array) for name, array in read_arrays(path).items()}
        stored = torch.load(path, map_location="cpu", weights_only=True)
        return {name: value for name, value in stored.items() if isinstance(value, torch.Tensor)}
    except Exception as error:  # torch raises whatever its unpickler meets in damaged bytes
        raise ConfigError(f"{path} cannot be read as weights: {reason(error)}; fetch it again.") from None
