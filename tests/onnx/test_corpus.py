"""Every file of the ONNX project for tests of exporters: cut into valid halves that agree, or refused in a sentence."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from cutlayer.errors import SplitError
from cutlayer.onnx.graph import checked, survey, write
from cutlayer.spec import TensorSpec

DATA = Path(onnx.__file__).parent / "backend/test/data"
SHAPES = ((3, 16, 16), (4,), (4, 5))


def run(path, array):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: array})[0]


def surveyed(path):
    """As read, or for the first shape that it takes."""
    try:
        return checked(survey(path))
    except SplitError as error:
        if "as in --input" not in str(error):
            raise
    for shape in SHAPES[:-1]:
        try:
            return checked(survey(path, TensorSpec(shape)))
        except SplitError:
            continue
    return checked(survey(path, TensorSpec(SHAPES[-1])))


@pytest.mark.parametrize(("part", "n_files"), [("pytorch-converted", 60), ("pytorch-operator", 20), ("simple", 20)])
def test_a_file_is_cut_or_refused(tmp_path, part, n_files, capfd):
    found, n_cuts = {"cut": 0, "refused": 0}, 0
    for path in sorted((DATA / part).rglob("*.onnx")):
        try:
            whole = surveyed(path)
        except SplitError as error:
            found["refused"] += 1
            sentence = str(error)
            assert len(sentence.splitlines()) == 1
            assert sentence.endswith((".", "?")), sentence
            assert "onnxruntime_src" not in sentence
            continue
        found["cut"] += 1
        images = np.random.default_rng(1).random((1, *whole.file.input.shape), np.float32)
        for cut in whole.cuts:
            n_cuts += 1
            write(whole, cut.name, tmp_path / "split")
            halves = [tmp_path / f"split/{name}.onnx" for name in ("head", "tail")]
            for half in halves:
                onnx.checker.check_model(onnx.load(half), full_check=True)
            smashed = run(halves[0], images)
            assert smashed.shape == (1, *cut.shape)
            expected = run(path, images).reshape(1, -1)
            np.testing.assert_allclose(run(halves[1], smashed), expected, rtol=1e-4, atol=1e-5, err_msg=f"{path} {cut}")
    assert capfd.readouterr() == ("", "")
    print(part, found, n_cuts)
    assert sum(found.values()) >= n_files, "the files of the package onnx are elsewhere"
