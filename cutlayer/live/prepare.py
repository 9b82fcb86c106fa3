"""The split that a room has where nobody names one: small, of large pictures, trained in about a minute and kept."""

from __future__ import annotations

from pathlib import Path

from cutlayer.data.load import load
from cutlayer.errors import ConfigError
from cutlayer.split_folder import SplitFolder, open_split
from cutlayer.terminal import say

DATA = "photos-64"
"""Pictures in which people recognize something."""

_MODELS = ((32, "vgg11_slim", "features.7"), (28, "lenet_bn", "relu1"))
"""The choice by the least side of the images: a model, and a cut that an attacker inverts well without a defense."""
EPOCHS = 3
MOST_IMAGES = 2000


def usual_split(out: Path, data: str, data_root: Path | None, seed: int) -> SplitFolder:
    """The folder ``split-DATA`` in `out`, trained now where it is not there.

    Raises:
        ConfigError: There is no model for the size of these images.
    """
    folder = out / f"split-{Path(data).name}"
    if folder.exists():
        return open_split(folder)
    from cutlayer import training
    from cutlayer.models import folder as folders
    from cutlayer.models import zoo
    from cutlayer.models.halves import split
    from cutlayer.models.start import Start

    splits = load(data, data_root, seed)
    shape = splits.input.shape
    side = min(shape[1:]) if len(shape) == 3 else 0
    chosen = next(((model, cut) for least, model, cut in _MODELS if side >= least), None)
    if chosen is None or not splits.classes:
        raise ConfigError(
            f"There is no usual split for {data} ({splits.input}); make one with `cutlayer split`, and name its folder."
        )
    name, cut = chosen
    say(f"training {name} on {data} for the room, once; it is kept in {folder}")
    model = zoo.build(name, splits.input, len(splits.classes), seed, Start())
    training.train(model, splits.train.take(MOST_IMAGES), epochs=EPOCHS, seed=seed)
    folders.save(
        folder, split(model, cut, splits.input), model=name, classes=len(splits.classes), defense={"name": "none"},
        data=data,
    )  # fmt: skip
    return open_split(folder)
