"""Pictures of patients, from their original files. Pictures of one patient, or of one lesion, are never in two parts.

X. Wang et al., "ChestX-ray8: Hospital-scale Chest X-ray Database", CVPR 2017,
https://nihcc.app.box.com/v/ChestXray-NIHCC, in the version with 14 findings.
P. Tschandl, C. Rosendahl, H. Kittler, "The HAM10000 dataset, a large collection of multi-source dermatoscopic images of
common pigmented skin lesions", Scientific Data 2018, https://doi.org/10.7910/DVN/DBW86T.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cutlayer.data.listed import Archive, Entries, pictured
from cutlayer.data.splits import Splits
from cutlayer.errors import DataError

CHEST_SHAPE, SKIN_SHAPE = (1, 64, 64), (3, 64, 64)
DIAGNOSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
_NONE = "No Finding"
_CHEST = Archive(
    "chestxray8", "Data_Entry_2017.csv, train_val_list.txt, test_list.txt, and the .png files in images or any folder",
    "https://nihcc.app.box.com/v/ChestXray-NIHCC",
)  # fmt: skip
_SKIN = Archive(
    "ham10000", "HAM10000_metadata.csv, and the .jpg files in HAM10000_images_part_1 and HAM10000_images_part_2",
    "https://doi.org/10.7910/DVN/DBW86T",
)  # fmt: skip


def load_chest(root: Path, seed: int, shape: tuple[int, ...] | None = None) -> Splits:
    """X-rays of chests, 64x64 grey, with and without a finding; the attributes are the findings and the sex.

    The authors' list for training becomes train and auxiliary, their list for testing private and test.
    """
    folder = root / "chestxray8"
    rows = _CHEST.rows(
        folder / "Data_Entry_2017.csv", ("Image Index", "Finding Labels", "Patient ID", "Patient Gender")
    )
    found = [set(row["Finding Labels"].split("|")) - {_NONE} for row in rows]
    findings = tuple(sorted(set().union(*found)))
    attributes = [
        [f in own for f in findings] + [r["Patient Gender"] == "M"] for own, r in zip(found, rows, strict=True)
    ]
    names = [row["Image Index"] for row in rows]
    lists = [set(_CHEST.text(folder / f"{name}_list.txt").split()) for name in ("train_val", "test")]
    if unlisted := set(names) - lists[0] - lists[1]:
        raise DataError(
            f"{folder} has neither in train_val_list.txt nor in test_list.txt the name {min(unlisted)}, which "
            "Data_Entry_2017.csv has; fetch the lists again."
        )
    labels = np.array([bool(own) for own in found], np.int64)
    entries = Entries(names, labels, [row["Patient ID"] for row in rows], np.array(attributes, np.int8))
    known, files = (*findings, "Male"), _CHEST.pictures(folder)
    return pictured("chestxray8", (_NONE, "Finding"), known, entries, files, shape or CHEST_SHAPE, seed, lists[1])


def load_skin(root: Path, seed: int, shape: tuple[int, ...] | None = None) -> Splits:
    """Skin lesions, 64x64 RGB, with seven diagnoses; the attribute is the sex. A lesion is in one part only."""
    folder = root / "ham10000"
    path = folder / "HAM10000_metadata.csv"
    if not path.is_file() and (folder / "HAM10000_metadata").is_file():
        path = folder / "HAM10000_metadata"  # as its archive has it
    rows = _SKIN.rows(path, ("lesion_id", "image_id", "dx", "sex"))
    if strange := sorted({row["dx"] for row in rows} - {*DIAGNOSES}):
        raise DataError(f"{path} has the diagnosis {strange[0]!r}; {', '.join(DIAGNOSES)} are known. Fetch it again.")
    entries = Entries(
        [f"{row['image_id']}.jpg" for row in rows],
        np.array([DIAGNOSES.index(row["dx"]) for row in rows], np.int64),
        [row["lesion_id"] for row in rows],
        np.array([[row["sex"] == "male"] for row in rows], np.int8),
    )
    files = _SKIN.pictures(folder)
    return pictured("ham10000", DIAGNOSES, ("Male",), entries, files, shape or SKIN_SHAPE, seed)
