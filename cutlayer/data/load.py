"""Data sets by name."""

import inspect
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cutlayer.data.images import ImageFiles
from cutlayer.data.modality import inputs_like
from cutlayer.data.near import near_copies
from cutlayer.data.noise import RANDOM
from cutlayer.data.overlap import apart
from cutlayer.data.splits import Splits
from cutlayer.data.text import Tokenizer
from cutlayer.errors import ConfigError, DataError
from cutlayer.registry import DATASETS
from cutlayer.spec import TensorSpec

_SPARE = 16
"""One more sample is read for so many, because copies of private samples are left out of the auxiliary part."""


def data_root(root: Path | str | None = None) -> Path:
    """The folder of the original files: the argument, else the environment variable CUTLAYER_DATA, else ``data``."""
    return Path(root or os.environ.get("CUTLAYER_DATA") or "data")


def load(
    name: str,
    root: Path | str | None = None,
    seed: int = 0,
    *,
    shape: tuple[int, ...] | None = None,
    otherwise: tuple[int, ...] | None = None,
    most: Mapping[str, int] | None = None,
    tokenizer: Tokenizer | None = None,
) -> Splits:
    """Read a data set into memory, in its four parts.

    Args:
        name: Name in `cutlayer.registry.DATASETS`, or the path of data of one's own: a folder of images, a folder that
            torchvision downloaded, an .npz or .npy file.
        root: Folder of the original files, see `data_root`; unused by data sets that come with the packages.
        seed: Decides which sample goes to which part. The same seed gives the same parts everywhere.
        shape: ``(C, H, W)`` of the inputs, for a path, for `random`, and for data sets that are folders of pictures;
            the greatest length ``(T,)`` of sentences; other data sets have one of their own.
        otherwise: The shape of image files and of random inputs where none is stated.
        most: Number of samples by the name of a part of which no more are needed; data sets that are folders of
            pictures are read no further.
        tokenizer: What makes tokens of text; the data set's own tokenizer if None.

    Raises:
        ConfigError: The name is unknown, or the package that holds the data is not installed.
        DataError: A file is missing, damaged or of another kind, or the data do not fit into memory.
    """
    opened = open_data(name, root, seed, shape=shape, otherwise=otherwise, tokenizer=tokenizer)
    import psutil  # which a device does without

    pictures = not DATASETS.is_path(name) and isinstance(getattr(opened.train, "source", None), ImageFiles)
    enough = {part: n + n // _SPARE for part, n in (most or {}).items()} if pictures else {}
    n_samples = sum(min(len(part), enough.get(key, len(part))) for key, part in opened.parts.items())
    needed, free = n_samples * opened.input.nbytes, psutil.virtual_memory().available
    if needed > free:
        advice = "state a smaller size with --input, or take fewer images"
        if pictures:
            advice += " (training.images and measure.auxiliary of a plan)"
        elif not DATASETS.is_path(name):
            advice = "end other programs, or use a machine with more memory"
        raise DataError(
            f"{name} needs {needed / 1e9:,.1f} GB of memory at {opened.input}, and {free / 1e9:,.1f} GB are free; "
            f"{advice}."
        )
    loaded = opened.loaded(enough)
    if not DATASETS.is_path(name):
        # What its authors published twice, nobody can mend.
        return apart(loaded)
    return replace(loaded, notes=(*loaded.notes, *near_copies(loaded)))


def other_size(splits: Splits, asked: object, option: str = "--input") -> ConfigError:
    """The error for inputs that have a size of their own, and not the one that was asked for by an option or a key."""
    text = f"The {splits.modality.one[1]} of {splits.name} are {splits.input}, not {asked}; leave out {option}."
    if not DATASETS.is_path(splits.name) and Path(splits.name).is_dir():
        text += f" For the folder {splits.name} instead of the data set of that name, write ./{splits.name}."
    return ConfigError(text)


def check_taken(splits: Splits, taken: TensorSpec) -> None:
    """Refuse data of another kind, or of another size, than a head takes.

    Raises:
        ConfigError: They do not fit; the message names both, and asks for other data.
    """
    own = splits.input
    if (own.shape, own.is_tokens) != (taken.shape, taken.is_tokens):
        raise ConfigError(
            f"{splits.name} has {inputs_like(own)}, and the head takes {inputs_like(taken)}; choose another data set "
            "with --data."
        )


def open_data(
    name: str,
    root: Path | str | None = None,
    seed: int = 0,
    *,
    shape: tuple[int, ...] | None = None,
    otherwise: tuple[int, ...] | None = None,
    tokenizer: Tokenizer | None = None,
) -> Splits:
    """The same parts, in which inputs may stay in their files until they are asked for: see `Dataset.one`."""
    read = DATASETS.load(name)
    stated = {"shape": shape, "otherwise": otherwise, "tokenizer": tokenizer}
    taken = inspect.signature(read).parameters
    if not DATASETS.is_path(name):
        axes = 1 if "tokenizer" in taken else 3
        if otherwise and len(otherwise) != axes:
            stated["otherwise"] = None
        if shape and "shape" in taken and len(shape) != axes and name != RANDOM:
            of = "sentences, so that a shape is their greatest length" if axes == 1 else "images, of the form CxHxW"
            raise ConfigError(f"{name} has {of}; {'x'.join(map(str, shape))} was given.")
    splits = read(data_root(root), seed, **{key: value for key, value in stated.items() if value and key in taken})
    if not isinstance(splits, Splits):
        raise ConfigError(
            f"The data set {name!r} must be a function (root, seed) that returns a cutlayer.data.splits.Splits; it "
            f"returns a {type(splits).__name__}."
        )
    return splits
