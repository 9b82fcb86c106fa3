"""Every file of the ONNX project for tests of exporters: cut into valid halves that agree, or refused in a sentence."""

from pathlib import Path

import onnx
import pytest

from cutlayer.errors import SplitError
from cutlayer.onnx.graph import checked, survey, write
from tests.onnx.onnx_models import assert_split_is_the_whole

DATA = Path(onnx.__file__).parent / "backend/test/data"


@pytest.mark.parametrize(("part", "n_cut"), [("pytorch-converted", 30), ("pytorch-operator", 5), ("simple", 3)])
def test_a_file_is_cut_or_refused(tmp_path, part, n_cut, capfd):
    n_with_cuts = 0
    for path in sorted((DATA / part).rglob("*.onnx")):
        try:
            whole = checked(survey(path))
        except SplitError as error:
            sentence = str(error)
            assert len(sentence.splitlines()) == 1
            assert sentence.endswith((".", "?")), sentence
            assert "onnxruntime_src" not in sentence
            continue
        n_with_cuts += bool(whole.cuts)
        for cut in {cut.name for cut in (*whole.cuts[:1], *whole.cuts[-1:])}:
            write(whole, cut, tmp_path / "split")
            assert_split_is_the_whole(path, tmp_path / "split")
    assert capfd.readouterr() == ("", "")
    assert n_with_cuts >= n_cut
