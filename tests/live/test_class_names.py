"""Whose names the answers of a room have: those of the split's own classes, and never those of the attackers' data."""

import numpy as np
import pytest

from cutlayer.data.load import open_data
from cutlayer.errors import CutlayerError
from cutlayer.live.serve import class_names
from cutlayer.spec import image_spec
from cutlayer.split_folder import open_split
from tests.tiny_split import write_split


@pytest.fixture
def other(tmp_path):
    """Pictures of the attackers' own, with as many classes as the digits."""
    path = tmp_path / "other.npz"
    np.savez(path, images=np.zeros((200, 8, 8), np.uint8), labels=np.arange(200) % 10)
    return str(path)


@pytest.mark.parametrize(("stated", "classes", "known"), [("digits", 10, True), ("digits", 4, False)])
def test_the_names_are_those_of_the_data_of_the_split(tmp_path, other, stated, classes, known):
    write_split(tmp_path / "split", data=stated, input=image_spec(1, 8, 8), channels=6, classes=classes)
    expected = tuple(open_data("digits").classes) if known else ()
    for data in ("digits", other):
        assert class_names(open_split(tmp_path / "split"), data, None, 0) == expected


@pytest.mark.parametrize("stated", [None, "missing.npz"])
def test_classes_that_nobody_can_name_have_numbers(tmp_path, other, stated):
    write_split(tmp_path / "split", data=stated, input=image_spec(1, 8, 8), channels=6, classes=10)
    split = open_split(tmp_path / "split")
    assert class_names(split, other, None, 0) == ()
    with pytest.raises(CutlayerError):
        class_names(split, "no-such-data", None, 0)
