"""CelebA: faces of celebrities with 40 attributes, from their original files. The attackers' people are nobody else's.

Z. Liu et al., "Deep Learning Face Attributes in the Wild", ICCV 2015, https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html:
the aligned and cropped faces. The label is the attribute Smiling; all 40 are the attributes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cutlayer.data.listed import Archive, Entries, pictured
from cutlayer.data.splits import Splits
from cutlayer.errors import DataError

SHAPE = (3, 64, 64)
LABEL = "Smiling"
_LISTS = ("list_attr_celeba.txt", "identity_CelebA.txt", "list_eval_partition.txt")
_ARCHIVE = Archive(
    "celeba", f"the folder img_align_celeba with its .jpg files, and {', '.join(_LISTS)}",
    "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
)  # fmt: skip


def load(root: Path, seed: int, shape: tuple[int, ...] | None = None) -> Splits:
    """Faces of celebrities, 64x64 RGB, smiling or not, with 40 attributes; nobody is in two parts.

    The authors' training part becomes train and auxiliary, their validation and test parts private and test.
    """
    folder = root / "celeba"
    attributes, identities, partition = (folder / name for name in _LISTS)
    _, names, *lines = [*_ARCHIVE.text(attributes).splitlines(), "", ""]
    known = tuple(names.split())
    if LABEL not in known:
        raise DataError(
            f"{attributes} is no list of attributes: its second line does not name {LABEL}; fetch it again."
        )
    listed, values = [], []
    for number, line in enumerate(filter(str.strip, lines), 3):
        name, *words = line.split()
        if len(words) != len(known) or not {*words} <= {"1", "-1"}:
            raise DataError(f"{attributes} is damaged in line {number}: {line[:60]!r}; fetch it again.")
        listed.append(name)
        values.append([word == "1" for word in words])
    people, parts = _second(identities), _second(partition)
    for path, column in ((identities, people), (partition, parts)):
        if lacking := [name for name in listed if name not in column]:
            raise DataError(f"{path} does not name {lacking[0]}, which {attributes.name} does; fetch both again.")
    flags = np.array(values, np.int8)
    entries = Entries(listed, flags[:, known.index(LABEL)].astype(np.int64), [people[n] for n in listed], flags)
    classes = f"not {LABEL.lower()}", LABEL.lower()
    held_back = [name for name in listed if parts[name] != "0"]
    files = _ARCHIVE.pictures(folder / "img_align_celeba")
    return pictured("celeba", classes, known, entries, files, shape or SHAPE, seed, held_back)


def _second(path: Path) -> dict[str, str]:
    """The second column of a list by the first."""
    words = [line.split() for line in _ARCHIVE.text(path).splitlines() if line.strip()]
    for number, row in enumerate(words, 1):
        if len(row) != 2:
            raise DataError(f"{path} is damaged in line {number}: a name and a number are expected; fetch it again.")
    return dict(words)
