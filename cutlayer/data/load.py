"""Data sets by name."""

import os
from pathlib import Path

from cutlayer.data.splits import Splits
from cutlayer.errors import ConfigError
from cutlayer.registry import DATASETS


def data_root(root: Path | str | None = None) -> Path:
    """The folder of the original files: the argument, else the environment variable CUTLAYER_DATA, else ``data``."""
    return Path(root or os.environ.get("CUTLAYER_DATA") or "data")


def load(name: str, root: Path | str | None = None, seed: int = 0) -> Splits:
    """Read a data set into memory, in its four parts.

    Args:
        name: Name in `cutlayer.registry.DATASETS`.
        root: Folder of the original files, see `data_root`; unused by data sets that come with the packages.
        seed: Decides which sample goes to which part. The same seed gives the same parts everywhere.

    Raises:
        ConfigError: The name is unknown, or the package that holds the data is not installed.
        DataError: A file is missing, damaged or of another kind.
    """
    return open_data(name, root, seed).loaded()


def open_data(name: str, root: Path | str | None = None, seed: int = 0) -> Splits:
    """The same parts, in which inputs may stay in their files until they are asked for: see `Dataset.one`."""
    splits = DATASETS.load(name)(data_root(root), seed)
    if not isinstance(splits, Splits):
        raise ConfigError(
            f"The data set {name!r} must be a function (root, seed) that returns a cutlayer.data.splits.Splits; it "
            f"returns a {type(splits).__name__}."
        )
    return splits
