"""Folders whose names are bytes that are no UTF-8."""

import numpy as np
import pytest
from PIL import Image

from cutlayer.data.load import load
from cutlayer.errors import ConfigError
from cutlayer.registry import DATASETS


def test_class_folders_whose_names_are_no_utf_8(tmp_path):
    for name in ("caf\udce9", "tea"):
        (tmp_path / name).mkdir()
        for number in range(6):
            Image.fromarray(np.full((8, 8, 3), 40 * number, np.uint8)).save(tmp_path / name / f"i\udce9{number}.png")
    splits = load(str(tmp_path), None, 0)
    assert splits.classes == ("caf\\udce9", "tea")
    assert "".join(splits.classes).encode()
    assert DATASETS.identity(str(tmp_path))
    with pytest.raises(ConfigError, match="has a name that is no UTF-8"):
        DATASETS.resolved(str(tmp_path / "caf\udce9"), tmp_path)
