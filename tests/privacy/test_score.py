"""The mean score of an attack: exact copies are counted, and hide nothing."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from cutlayer.data.modality import TABLE
from cutlayer.data.splits import NO_CLASS, Dataset, Splits
from cutlayer.errors import ConfigError
from cutlayer.metrics.base import Metric
from cutlayer.privacy.score import Chosen, score
from cutlayer.records.dataclass_json import dump, load
from cutlayer.records.files import write_json
from cutlayer.records.run import Estimate
from cutlayer.registry import METRICS


@pytest.fixture
def data():
    images = np.random.default_rng(0).random((6, 1, 12, 12)).astype(np.float32)
    parts = [Dataset(images, np.zeros(6, np.int64))] * 4
    return Splits("noise", ("one",), *parts)


def test_the_share_of_the_identified_has_an_exact_interval(data):
    truth = torch.from_numpy(data.private.inputs)
    none, all_ = (score(rebuilt, data, 0).metrics["identification"] for rebuilt in (truth.flip(0), truth))
    assert (none.value, none.low, none.high) == (0, 0, pytest.approx(1 - 0.025 ** (1 / 6)))
    assert (all_.value, all_.low, all_.high) == (1, pytest.approx(0.025 ** (1 / 6)), 1)


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


def test_a_metric_whose_weights_are_missing_is_said_and_has_no_value(data, tmp_path):
    chosen = Chosen(("ms-ssim", "lpips"), tmp_path)
    (sentence,) = chosen.notes(6, judged=True)
    assert "only `cutlayer run` has" in Chosen(("iip",)).notes(6, judged=False)[0]
    assert sentence.startswith(f"LPIPS AlexNet is left out: {tmp_path} holds no alexnet_features.npz")
    scored = score(torch.from_numpy(data.private.inputs * 0.9), data, 0, chosen)
    assert math.isnan(scored.metrics["lpips"].value)
    assert 0 < scored.metrics["ms-ssim"].value < 1
    assert "lpips" not in scored.per_input


def test_one_score_for_the_whole_set_has_no_interval(data, monkeypatch):
    farthest = Metric("Farthest", "the worst.", "low", lambda x, y, _: (x - y).abs().amax(), of_set=True)
    monkeypatch.setattr(METRICS, "load", lambda name, load=METRICS.load: farthest if name == "farthest" else load(name))
    rebuilt = torch.from_numpy(data.private.inputs * 0.9)
    scored = score(rebuilt, data, 0, Chosen(("farthest",)))
    worst = scored.metrics["farthest"]
    assert worst.value == pytest.approx((data.private.inputs - rebuilt.numpy()).max())
    assert (worst.n, math.isnan(worst.low), math.isnan(worst.high)) == (6, True, True)
    monkeypatch.setattr(METRICS, "load", lambda name, load=METRICS.load: replace(farthest, of_set=False))
    with pytest.raises(
        ConfigError, match=r"scores of shape \(\) for 6 reconstructions; let it give one number for each"
    ):
        score(rebuilt, data, 0, Chosen(("farthest",)))


def test_rows_of_a_table_have_the_scores_that_need_no_picture():
    rows = np.random.default_rng(0).random((6, 5)).astype(np.float32)
    table = Splits("rows", ("one",), *[Dataset(rows, np.zeros(6, np.int64), TABLE)] * 4)
    scored = score(torch.from_numpy(rows * 0.9), table, 0, Chosen(("ms-ssim", "rdlv")))
    assert list(scored.metrics) == ["mse", "psnr", "identification"]
    assert 0 < scored.leakage_gain.value < 1


def test_what_has_no_class_has_no_evaluation_classifier(data):
    parts = [Dataset(data.private.inputs, np.full(6, NO_CLASS))] * 4
    scored = score(torch.from_numpy(data.private.inputs), Splits("noise", (), *parts), 0, Chosen(("recognized", "iip")))
    assert all(math.isnan(scored.metrics[name].value) for name in ("recognized", "iip"))


def test_an_infinity_of_an_older_record_is_read():
    assert math.isinf(load(Estimate, {"value": math.inf, "n": 3, "low": 1.0, "high": math.inf}).value)
