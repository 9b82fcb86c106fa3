"""The tables inside scikit-learn. Need no download.

Breast cancer: W. Street, W. Wolberg, O. Mangasarian, 1993, https://doi.org/10.24432/C5DW2B, nuclei of cells in 30
measures. Wine: M. Forina et al., https://doi.org/10.24432/C5PC7J, 13 measures of three cultivars. Diabetes: B. Efron et
al., "Least Angle Regression", Annals of Statistics 2004, 10 facts of a patient; the class is whether the disease
progresses more than it does for half of the patients.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cutlayer.data.parts import embedded
from cutlayer.data.rows import from_rows, rows_of
from cutlayer.data.splits import Splits


def load_cancer(root: Path | None, seed: int) -> Splits:
    """Cells of a breast, 30 numbers each, benign or malignant: 285 train, 142 auxiliary, 71 private, 71 test."""
    return _load("breast-cancer", "load_breast_cancer", seed)


def load_wine(root: Path | None, seed: int) -> Splits:
    """Wines of three cultivars, 13 numbers each: 89 train, 44 auxiliary, 22 private, 22 test."""
    return _load("wine", "load_wine", seed)


def load_diabetes(root: Path | None, seed: int) -> Splits:
    """Patients with diabetes, 9 numbers and the sex: 221 train, 111 auxiliary, 55 private, 55 test."""
    return _load("diabetes", "load_diabetes", seed, scaled=False)


def _load(name: str, function: str, seed: int, **options: bool) -> Splits:
    source = getattr(embedded(name, "sklearn.datasets", "scikit-learn"), function)(**options)
    classes, labels = tuple(map(str, source.get("target_names", ("slow", "fast")))), source.target
    if name == "diabetes":  # its target is a number
        labels = labels > np.median(labels)
    cells = {
        str(column): [f"sex {cell:g}" if column == "sex" else repr(float(cell)) for cell in source.data[:, k]]
        for k, column in enumerate(source.feature_names)
    }
    return from_rows(name, classes, *rows_of(cells, name), labels.astype(np.int64), seed)
