"""Faces with names, from their original files: the attacker's people occur in no other part.

G. Huang et al., "Labeled Faces in the Wild", 2007, http://vis-www.cs.umass.edu/lfw, as the 64x64 grey crops of C.
Sanderson and B. Lovell, LFWcrop, 2009, https://conradsanderson.id.au/lfwcrop.
F. Samaria, A. Harter, "Parameterisation of a stochastic model for human face identification", WACV 1994: the AT&T (ORL)
database, https://cam-orl.co.uk/facedatabase.html.

The label is the person, for neither set has another one. Half of the people belong to the attacker, with all their
images, so that what it learns from them says nothing in particular of the other half; the network has outputs for all.
"""

import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cutlayer.bounded import read_bytes, reason
from cutlayer.data.listing import visible
from cutlayer.data.parts import mixed
from cutlayer.data.splits import Splits
from cutlayer.errors import DataError

LEAST, MOST = 20, 60
"""Images of one person of LFW: a person with fewer is left out; of a person with more (one has 530), MOST are used."""

_MOST_BYTES = 64 << 20
_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PGM = re.compile(
    rb"P([25])" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})(?:\s|#[^\r\n]*[\r\n])"
)


def load_lfw(root: Path, seed: int) -> Splits:
    """Faces of LFWcrop, 64x64 grey, of people with 20 images or more; the attacker's people are in no other part."""
    folder = root / "lfwcrop"
    people = defaultdict(list)
    for path in _files(folder, "https://conradsanderson.id.au/lfwcrop"):
        people[path.stem.rpartition("_")[0]].append(path)
    known = {name: paths[:MOST] for name, paths in people.items() if len(paths) >= LEAST}
    if len(known) < 2:
        raise DataError(f"{folder} holds fewer than two people with {LEAST} images each; unpack all of LFWcrop there.")
    return from_people("lfw", {name: _read(paths) for name, paths in known.items()}, seed)


def load_lfw32(root: Path, seed: int) -> Splits:
    """Faces of LFWcrop as in lfw, 32x32 grey: each pixel is the mean of four."""
    large = load_lfw(root, seed)
    parts = (large.train, large.auxiliary, large.private, large.test)
    return Splits("lfw-32", large.classes, *(replace(part, inputs=halved(part.inputs)) for part in parts))


def load_att(root: Path, seed: int) -> Splits:
    """Faces of AT&T, 56x46 grey (each pixel the mean of four), ten of each of 40 people, 20 of them the attacker's."""
    people = defaultdict(list)
    for path in _files(root / "orl_faces", "https://cam-orl.co.uk/facedatabase.html"):
        people[path.parent.name].append(path)
    return from_people("att-faces", {name: halved(_read(paths)) for name, paths in people.items()}, seed)


def from_people(name: str, people: dict[str, NDArray[np.float32]], seed: int) -> Splits:
    """Deal half of the people to the attacker, and the images of each other person as 2 : 1 : 1 to the other parts."""
    rng = np.random.default_rng(seed)
    train, auxiliary, private, test = parts = [dict[int, NDArray[np.float32]]() for _ in range(4)]
    for place, label in enumerate(rng.permutation(len(people)).tolist()):
        images = rng.permutation(list(people.values())[label])
        if place < len(people) // 2:
            auxiliary[label] = images
        else:
            n = len(images) // 4
            train[label], private[label], test[label] = images[2 * n :], images[:n], images[n : 2 * n]
    return Splits(name, tuple(people), *(mixed(part, rng) for part in parts))


def halved(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(N, C, 2h, 2w)`` -> ``(N, C, h, w)``, the mean of each four pixels."""
    n, channels, height, width = images.shape
    means: NDArray[np.float32] = images.reshape(n, channels, height // 2, 2, width // 2, 2).mean((3, 5))
    return means


def read_pgm(path: Path) -> NDArray[np.float32]:
    """The pixels of a PGM file, ``(height, width)`` in [0, 1]: binary or plain, with 8 or 16 bits, with comments.

    Raises:
        DataError: The file is of another kind, or damaged.
    """
    try:
        content = read_bytes(path, _MOST_BYTES)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {reason(error)}.") from None
    header = _PGM.match(content)
    if header is None:
        raise DataError(f"{path} is no PGM file: it does not begin with P5 or P2, width, height and greatest value.")
    kind, width, height, most = map(int, header.groups())
    if not 0 < most < 1 << 16:
        raise DataError(f"{path} is no PGM file: its greatest value is {most}, and 1 to 65535 are allowed.")
    raster = content[header.end() :]
    if kind == 5:
        pixels = np.frombuffer(raster[: len(raster) // 2 * 2], ">u2") if most > 255 else np.frombuffer(raster, np.uint8)
    else:
        words = re.sub(rb"#[^\r\n]*", b"", raster).split()
        pixels = np.array([int(word) if word.isdigit() and len(word) < 10 else most + 1 for word in words], np.int64)
    n = width * height
    if len(pixels) < n or pixels[:n].max(initial=0) > most:
        raise DataError(
            f"{path} is damaged: of {width}x{height} pixels up to {most}, {len(pixels):,} are there, "
            f"the greatest {pixels[:n].max(initial=0)}; fetch it again."
        )
    return (pixels[:n].astype(np.float32) / np.float32(most)).reshape(height, width)


def _files(folder: Path, source: str) -> list[Path]:
    """Every PGM file below the folder, in an order that is the same everywhere."""
    paths = [path for path in visible(folder) if path.suffix == ".pgm"]
    if not paths:
        raise DataError(
            f"{folder} with its .pgm files is missing; name the folder that holds {folder.name} with --data-root or "
            f"CUTLAYER_DATA ({source} has the archive that unpacks to it)."
        )
    return paths


def _read(paths: list[Path]) -> NDArray[np.float32]:
    images = [read_pgm(path) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape or image.shape[0] % 2 or image.shape[1] % 2:
            (height, width), (first_height, first_width) = image.shape, images[0].shape
            raise DataError(
                f"{path} has {width}x{height} pixels, and {paths[0].name} has {first_width}x{first_height}: all images "
                "of this data set have one size, of even numbers; remove what does not belong to it, or name the "
                "folder itself with --data."
            )
    return np.stack(images)[:, None]
