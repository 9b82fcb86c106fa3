"""The 200 grey images of 25x25 pixels inside scikit-image, half of them faces. Needs no download.

A subset of G. Huang et al., "Labeled Faces in the Wild", 2007, http://vis-www.cs.umass.edu/lfw, by way of LFWcrop.
"""

from pathlib import Path

import numpy as np

from cutlayer.data.parts import embedded, from_one
from cutlayer.data.splits import Dataset, Splits


def load(root: Path | None, seed: int) -> Splits:
    """Faces and other pictures, 25x25 grey, from scikit-image: 100 train, 50 auxiliary, 25 private, 25 test.

    `root` is not used.
    """
    images = embedded("faces", "skimage.data", "scikit-image").lfw_subset()[:, None].astype(np.float32)
    labels = np.repeat(np.array([1, 0]), 100)  # scikit-image: the first 100 are faces, the others are not
    return from_one("faces", ("background", "face"), Dataset(images, labels), seed)
