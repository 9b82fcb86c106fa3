"""Every file of the ONNX project for tests of exporters: cut into valid halves that agree, or refused in a sentence."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from cutlayer.errors import SplitError
from cutlayer.onnx.given import Given
from cutlayer.onnx.graph import checked, survey, write
from tests.onnx.onnx_models import assert_halves_are_the_whole

DATA = Path(onnx.__file__).parent / "backend/test/data"
SHAPES = (None, (3, 16, 16), (4,), (4, 5))


def surveyed(path):
    """The file as it is, or for the first shape that it takes where it leaves its shape open."""
    for shape in SHAPES:
        try:
            return checked(survey(path, Given(shape)))
        except SplitError as error:
            if shape == SHAPES[-1] or (not shape and "as in --input" not in str(error)):
                raise
    raise AssertionError("the last shape returns or raises")


@pytest.mark.parametrize(("part", "n_files"), [("pytorch-converted", 60), ("pytorch-operator", 20), ("simple", 20)])
def test_a_file_is_cut_or_refused(tmp_path, part, n_files, capfd):
    counts = {"cut": 0, "refused": 0}
    for path in sorted((DATA / part).rglob("*.onnx")):
        try:
            whole = surveyed(path)
        except SplitError as error:
            counts["refused"] += 1
            sentence = str(error)
            assert len(sentence.splitlines()) == 1
            assert sentence.endswith((".", "?")), sentence
            assert "onnxruntime_src" not in sentence
            continue
        counts["cut"] += 1
        images = np.random.default_rng(1).random((1, *whole.file.input.shape), np.float32)
        for cut in whole.cuts:
            write(whole, cut.name, tmp_path / "split")
            assert_halves_are_the_whole(path, tmp_path / "split", images)
    assert capfd.readouterr() == ("", "")
    assert sum(counts.values()) >= n_files, "the files of the package onnx are elsewhere"
