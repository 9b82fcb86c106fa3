"""The 1,797 handwritten digits of 8x8 pixels inside scikit-learn. Needs no download.

E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998, https://doi.org/10.24432/C50P49
(its test set). The attribute ``even`` follows from the class.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from cutlayer.data.parts import embedded, from_one
from cutlayer.data.splits import Dataset, Splits


def load(root: Path | None, seed: int) -> Splits:
    """Handwritten digits, 8x8 grey, from scikit-learn: 898 train, 449 auxiliary, 225 private, 225 test.

    `root` is not used.
    """
    digits = embedded("digits", "sklearn.datasets", "scikit-learn").load_digits()
    images, labels = (digits.images[:, None] / 16).astype(np.float32), digits.target.astype(np.int64)
    data = Dataset(images, labels, attributes=(labels[:, None] % 2 == 0).astype(np.int8))
    return replace(from_one("digits", tuple("0123456789"), data, seed), attributes=("even",))
