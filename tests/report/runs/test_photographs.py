"""Runs whose private pictures are the tiles of whole photographs."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from cutlayer.records.reading import read
from cutlayer.records.reconstructions import mosaic
from cutlayer.report.runs.page import write

GRID = (2, 3)


@pytest.fixture
def tiled(runs):
    """The runs, whose 12 pictures are two photographs in 2 x 3 tiles."""
    for path in runs.glob("*/reconstructions.npz"):
        with np.load(path) as saved:
            arrays = dict(saved) | {"tiles": np.array(GRID), "labels": np.repeat([0, 1], 6)}
        (images,) = {array.shape for name, array in arrays.items() if array.ndim == 4}
        assert len(arrays["labels"]) == images[0]
        arrays.setdefault("telling", np.arange(4))
        np.savez(path, **arrays)
    return runs


def pictures(source: str) -> list[tuple[str, np.ndarray]]:
    """Alternative text and pixels ``(H, W, C)`` of each picture of the page."""
    found = []
    for tag in re.findall(r"<img [^>]*>", source):
        data = re.search(r"base64,([^\"]*)", tag)[1]
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
        found.append((re.search(r'alt="([^"]*)"', tag)[1], pixels))
    return found


def test_the_page_shows_whole_photographs_in_place_of_tiles(tiled):
    found = pictures(write(tiled).read_text())
    run = next(run for run in read(tiled)[0] if run.result.undefended)
    photos = mosaic(run.pictures.originals, GRID)
    first = [pixels for alt, pixels in found if alt == "2 original pictures: astronaut, cat (astronaut)"]
    assert len(first) == 1, "each photograph is a picture of its own"
    expected = photos[0] if photos.dtype == np.uint8 else np.rint(photos[0].astype(np.float32) * 255)
    np.testing.assert_array_equal(first[0], expected.transpose(1, 2, 0).astype(np.uint8))
    worst = [pixels for alt, pixels in found if alt.startswith("Reconstructions by white-box with no defense")]
    assert {pixels.shape for pixels in worst} == {(64, 96, 3)}
    assert len(worst) == 2


def test_the_page_says_what_is_laid_together_and_how_the_attack_was_chosen(tiled):
    source = write(tiled).read_text()
    assert "Each is sent as 6 tiles of 32 x 32 pixels in color" in source
    assert "the one with the highest leakage gain over all tiles" in source
    assert "For each tile the camera sends" in source
