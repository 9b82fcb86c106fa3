"""The split that a room has where nobody names one: small, trained in about a minute and kept; and its attackers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cutlayer.data.load import load
from cutlayer.errors import ConfigError
from cutlayer.models.manifest import Manifest
from cutlayer.registry import ATTACKS
from cutlayer.split_folder import SplitFolder, open_split
from cutlayer.terminal import say

DATA = "photos-64"
"""Pictures in which people recognize something."""

_MODELS = ((32, "vgg11_slim", "features.7"), (28, "lenet_bn", "relu1"))
"""The choice by the least side of the images: a model, and a cut that an attacker inverts well without a defense."""
_TEXT = ("text_transformer", "block1")
"""The model of sentences, and a cut that an attacker reads well without a defense."""
EPOCHS = 3
MOST_INPUTS = 2000
_ATTACKERS = {False: ("ridge", "decoder"), True: ("token-ridge", "nearest-activation")}
"""The attackers of pictures, and of sentences."""


def usual_attackers(manifest: Manifest) -> tuple[str, ...]:
    """The attackers of a room whose owner names none."""
    return _ATTACKERS[manifest.sequence]


def check_attackers(manifest: Manifest, names: Sequence[str]) -> None:
    """Refuse an attacker that does not rebuild what the split takes. Raises ConfigError."""
    kind = "tokens" if manifest.sequence else "image"
    for name in names:
        if kind not in ATTACKS.load(name).rebuilds:
            able = ", ".join(other for other in ATTACKS if kind in ATTACKS.load(other).rebuilds)
            words = "read sentences" if manifest.sequence else "rebuild images"
            raise ConfigError(f"The attack {name} does not {words}; choose from {able}.")


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
    chosen = (
        _TEXT
        if splits.input.is_tokens
        else next(((model, cut) for least, model, cut in _MODELS if side >= least), None)
    )
    if chosen is None or not splits.classes:
        raise ConfigError(
            f"There is no usual split for {data} ({splits.input}); make one with `cutlayer split`, and name its folder."
        )
    name, cut = chosen
    say(f"training {name} on {data} for the room, once; it is kept in {folder}")
    model = zoo.build(name, splits.input, len(splits.classes), seed, Start())
    training.train(model, splits.train.take(MOST_INPUTS), epochs=EPOCHS, seed=seed)
    folders.save(
        folder, split(model, cut, splits.input), model=name, classes=len(splits.classes), defense={"name": "none"},
        data=data, tokenizer=splits.tokenizer,
    )  # fmt: skip
    return open_split(folder)
