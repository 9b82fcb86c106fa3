"""A profile with data, attacks and limits, from the plan to its files: real processes, digits, and a linear attack."""

import csv
import errno
from dataclasses import replace

import numpy as np
import pytest

from cutlayer.errors import ConfigError, WriteError
from cutlayer.profile import quality
from cutlayer.profile.plan import Plan, Settings
from cutlayer.profile.run import run_plan
from cutlayer.records.profile import Limits
from cutlayer.records.profile_files import read
from cutlayer.records.run import Ceiling, CeilingAt, Estimate
from cutlayer.report.profiles import terminal
from cutlayer.report.profiles.page import page
from tests.onnx.onnx_models import chain

NETWORK = "200mbit/1ms"
SETTINGS = Settings(("raw", "int8"), samples=90, seconds=0.1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return chain(tmp_path_factory.mktemp("model") / "chain.onnx", 1, given=("image", ["N", 1, 8, 8]))


def plan(model, data="digits", **options):
    return Plan(str(model), ("r1", "flat"), network=NETWORK, data=data, **options)


@pytest.fixture(scope="module")
def profiled(model, tmp_path_factory):
    out, lines = tmp_path_factory.mktemp("profile"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quality, "ATTACKS", {"image": {"ridge": {}}})
        profile = run_plan(plan(model, privacy=True), SETTINGS, Limits(None, 0.6, 0.0), out, lines.append, pytest.fail)
    return out, profile, lines


def test_every_cut_has_its_accuracy_and_its_leakage_with_n_and_interval(profiled):
    _, profile, lines = profiled
    assert len([line for line in lines if line.startswith("attacking")]) == 4
    for codec in ("raw", "int8"):
        first, last = (cut.codecs[codec].quality for cut in profile.cuts)
        # What a picture's first convolution gives away, and the four averages behind the pooling.
        assert first.leakage.value > 0.9 > 0.6 > last.leakage.value
        assert last.leakage.n == 200
        assert first.accuracy.n == 225
        assert first.leakage.low <= first.leakage.value


def test_what_breaks_a_limit_is_neither_measured_nor_recommended_nor_best_at_any_bandwidth(profiled):
    _, profile, _ = profiled
    (recommendation,) = profile.recommendations
    assert recommendation.best.cut == "flat"
    assert {choice.cut for choice in recommendation.as_good} <= {"flat"}
    assert {span.choice.split()[0] for span in profile.bandwidth.best} == {"flat"}
    assert profile.cuts[1].networks[NETWORK][recommendation.best.codec].source == "measured"


def test_they_are_in_every_file(profiled):
    out, profile, _ = profiled
    assert read(out) == profile
    assert profile.limits.leakage == 0.6
    row = next(csv.DictReader((out / "profile.csv").read_text().splitlines()))
    assert float(row["leakage"]) == profile.cuts[0].codecs["raw"].quality.leakage.value
    assert "Leakage gain against end-to-end latency" in (out / "profile.html").read_text()
    assert "accuracy  leakage" in terminal.text(profile)
    assert "No ceiling on what an attacker can do: deterministic." in terminal.text(profile)


def test_the_ceiling_stands_beside_the_leakage_of_the_cheap_attacks(profiled):
    at = CeilingAt(1, Estimate(0.4, 2000, 0.38, 0.42), Estimate(0.5, 200, 0.45, 0.55))
    cuts = []
    for cut in profiled[1].cuts:
        codecs = {
            name: replace(codec, quality=replace(codec.quality, ceiling=Ceiling("", 200, (at,), 7.0, 64)))
            for name, codec in cut.codecs.items()
        }
        cuts.append(replace(cut, codecs=codecs))
    bounded = replace(profiled[1], cuts=tuple(cuts))
    text = terminal.text(bounded)
    assert "accuracy  leakage  identified  leakage at most  identified at most" in text
    assert "one of 200 candidates" in " ".join(text.split())
    assert "0.420" in text
    assert "0.550" in text
    assert "leakage at most, int8" in page(bounded)


def test_answers_of_other_classes_are_neither_right_nor_wrong(tmp_path):
    other = chain(tmp_path / "other.onnx", 3, given=("image", ["N", 3, 32, 32]))
    with pytest.raises(ConfigError, match="has 10 outputs, and photos has other classes"):
        run_plan(
            plan(other, "photos"), SETTINGS, Limits(None, None, 0.1), tmp_path / "out", lambda _: None, pytest.fail
        )


def test_a_full_disk_is_one_sentence(model, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(WriteError, match=r"images.npy cannot be written: no space left on device; free some space"):
        run_plan(plan(model), SETTINGS, Limits(None, None, None), tmp_path / "out", lambda _: None, pytest.fail)
