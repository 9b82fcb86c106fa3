"""The file of a head becomes a split folder that sends what the file gives."""

import numpy as np
import pytest

from cutlayer.errors import SplitError
from cutlayer.onnx.given import given
from cutlayer.onnx.head import write_head
from cutlayer.split_folder import open_split
from tests.tiny_split import images, write_split


@pytest.fixture
def head(tmp_path):
    write_split(tmp_path / "split")
    return tmp_path / "split/head.onnx"


def test_it_sends_what_the_file_gives_and_has_nothing_else(head, tmp_path):
    manifest = write_head(head, tmp_path / "head")
    opened = open_split(tmp_path / "head")
    assert (manifest.model, manifest.cut, manifest.defense) == ("head.onnx", "smashed", {"name": "none"})
    assert (opened.has_tail, opened.has_halves) == (False, False)
    x = images(5)
    np.testing.assert_array_equal(opened.head()(x), open_split(head.parent).head()(x))


def test_images_are_normalized_first_as_stated(head, tmp_path):
    write_head(head, tmp_path / "head", given(mean="0.5", std="0.25"))
    x, whole = images(3), open_split(head.parent).head()
    np.testing.assert_allclose(open_split(tmp_path / "head").head()(x), whole((x - 0.5) / 0.25), atol=1e-5)


def test_a_file_whose_output_does_not_depend_on_its_input_is_no_head(tmp_path):
    from onnx import helper, numpy_helper

    from tests.tiny_split import write_model

    constant = numpy_helper.from_array(np.ones((1, 2, 6, 6), np.float32), "constant")
    nodes = [helper.make_node("Identity", ["constant"], ["smashed"])]
    write_model(tmp_path / "constant.onnx", nodes, ("image", (1, 6, 6)), ("smashed", (2, 6, 6)), [constant])
    with pytest.raises(SplitError, match="is no head: what it gives does not depend on image"):
        write_head(tmp_path / "constant.onnx", tmp_path / "head")
