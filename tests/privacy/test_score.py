"""The mean score of an attack: exact copies are counted, and hide nothing."""

import math

import numpy as np
import pytest
import torch

from cutlayer.data.splits import Dataset, Splits
from cutlayer.privacy.score import score
from cutlayer.records.dataclass_json import dump, load
from cutlayer.records.files import write_json
from cutlayer.records.run import Estimate


@pytest.fixture
def data():
    images = np.random.default_rng(0).random((6, 1, 12, 12)).astype(np.float32)
    parts = [Dataset(images, np.zeros(6, np.int64))] * 4
    return Splits("noise", ("one",), *parts)


def test_one_exact_copy_does_not_hide_the_psnr_of_the_others(data):
    truth = torch.from_numpy(data.private.inputs)
    rebuilt = (truth * 0.9).clone()
    without = score(rebuilt[1:], Splits("noise", ("one",), *[data.private.at(np.s_[1:])] * 4), 0).metrics["psnr"]
    rebuilt[0] = truth[0]
    scored = score(rebuilt, data, 0)
    psnr = scored.metrics["psnr"]
    assert (psnr.n, psnr.infinite, scored.n) == (5, 1, 6)
    assert psnr.value == pytest.approx(without.value)
    assert psnr.low < psnr.value < psnr.high
    assert np.isinf(scored.per_input["psnr"]).sum() == 1
    assert (scored.metrics["mse"].n, scored.metrics["mse"].infinite) == (6, 0)


def test_exact_copies_alone_have_no_psnr_and_the_record_is_json(data, tmp_path):
    psnr = score(torch.from_numpy(data.private.inputs), data, 0).metrics["psnr"]
    assert dump(psnr) == {"value": None, "n": 0, "low": None, "high": None, "infinite": 6}
    again = load(Estimate, dump(psnr))
    assert math.isnan(again.value)
    assert again.infinite == 6
    write_json(tmp_path / "a.json", dump(psnr))
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "b.json", {"psnr": math.inf})


def test_an_infinity_of_an_older_record_is_read():
    assert math.isinf(load(Estimate, {"value": math.inf, "n": 3, "low": 1.0, "high": math.inf}).value)
