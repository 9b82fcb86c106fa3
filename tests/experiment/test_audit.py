"""The audit of a split: what it runs within a budget, what it says of what it did not run, and its exit code."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cutlayer import cli
from cutlayer.attacks.view import CLOUD
from cutlayer.cloud import tap as taps
from cutlayer.data.load import load
from cutlayer.defenses.base import deployed
from cutlayer.errors import ConfigError, DataError, SplitError
from cutlayer.experiment import adversary, affordable, audit
from cutlayer.experiment.affordable import Purse, Subject, ladder
from cutlayer.models import folder, zoo
from cutlayer.models.halves import split as split_at
from cutlayer.records.audit import BUDGET, DOES_NOT_APPLY, NO_ACCESS, AuditRecord, NotTried
from cutlayer.records.dataclass_json import load as load_record
from cutlayer.registry import ATTACKS, DEFENSES
from cutlayer.spec import TensorSpec
from cutlayer.split_folder import open_split
from cutlayer.tables import Named
from tests.tiny_split import edge_at, serving, write_model, write_split

QUICK = ["--count", "20", "--auxiliary", "60"]
CHEAP = {"mean-image", "nearest", "watch-list", "ridge", "averaging", "traffic"}
NOISE = {"name": "gaussian-noise", "sigma": 2.0}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images of 3x3 blocks, each written twice as large."""
    path = tmp_path_factory.mktemp("data") / "images.npz"
    coarse = np.random.default_rng(0).random((320, 3, 3), np.float32)
    np.savez(path, x=coarse.repeat(2, 1).repeat(2, 2), y=np.arange(320) % 3)
    return path


@pytest.fixture
def cheap(monkeypatch):
    """An audit that can afford nothing but what takes no time, whatever the machine."""
    real = audit.afforded

    def afforded(named, *rest):
        if named.name in CHEAP and named.options.get("attack") in (None, "ridge"):
            return real(named, *rest)
        return NotTried(named.name, named.label, "BLACK_BOX", BUDGET, "The budget was spent.")

    monkeypatch.setattr(audit, "afforded", afforded)


def audited(split, data, out, *words):
    """The record that the command writes."""
    cli.app().cli(args=["audit", str(split), "--data", str(data), "--out", str(out), *QUICK, *words])
    return load_record(AuditRecord, json.loads((out / "audit.json").read_text()))


def row(record, name):
    return next(row for row in record.attacks if row.label == name)


def ways(record, name):
    return next(found for found in record.identification if found.label == name)


def test_an_undefended_split_gives_everything_away_and_all_attacks_are_named(tmp_path, data, capsys):
    write_split(tmp_path / "split")
    record = audited(tmp_path / "split", data, tmp_path / "out", "--budget", "1h", "--fail-if", "accuracy > 1")
    assert record.verdict.startswith("This split gives its inputs away: ")
    assert row(record, "mean-image").leakage_gain.value == 0
    assert row(record, "ridge").leakage_gain.value > 0.9
    assert row(record, "decoder").leakage_gain.value > 0.2
    assert ways(record, "watch-list").top_1.value == 1
    assert record.ceiling.none == "deterministic"
    ran = {entry.attack for entry in (*record.attacks, *record.identification)}
    why = {entry.attack: entry.why for entry in record.not_tried}
    assert ran | set(why) == {name for name in ATTACKS if "image" in ATTACKS.load(name).rebuilds}
    assert {name for name, reason in why.items() if reason == DOES_NOT_APPLY} == {
        "averaging", "denoise-first", "mask-aware", "traffic"
    }  # fmt: skip
    assert {why[name] for name in ("map", "white-box", "query-free", "diffusion-prior")} == {NO_ACCESS}
    assert set(record.hashes["split"]) == {"head.onnx", "tail.onnx", "split.json"}
    assert all(len(digest) == 64 for of in record.hashes.values() for digest in of.values())
    assert data.name in record.hashes["data"]
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines()[:-2])) <= 120
    assert "Not tried (access): map attack=ridge, map, query-free attack=decoder" in printed
    assert printed.splitlines()[-1].startswith("ok: accuracy is 0.")


@pytest.mark.usefixtures("cheap")
def test_noise_has_a_ceiling_above_what_was_found(tmp_path, data):
    write_split(tmp_path / "split", defense=NOISE)
    record = audited(tmp_path / "split", data, tmp_path / "out", "--codec", "int8+zstd")
    assert record.codec == "int8+zstd"
    assert record.n_releases == 4
    at = record.ceiling.over(4)
    assert row(record, "averaging n_releases=4").leakage_gain.value <= at.leakage_gain.high
    assert row(record, "ridge").leakage_gain.value <= at.leakage_gain.high
    assert {found.n_releases for found in record.identification if found.attack == "watch-list"} == {1, 4}
    assert row(record, "traffic").n == 20  # zstd makes messages of different lengths
    assert record.flags == ()
    assert (
        "a watch list that waits for 4 releases, with black-box access, picks the input that was sent from 39"
        in record.verdict
    )


@pytest.mark.usefixtures("cheap")
def test_strong_noise_hides_and_the_verdict_says_that_nobody_gets_further(tmp_path, data, capsys):
    write_split(tmp_path / "split", defense={**NOISE, "sigma": 30.0})
    record = audited(tmp_path / "split", data, tmp_path / "out", "--releases", "1", "--fail-if", "ceiling > 0.5",
                     "--fail-if", "ceiling.identified > 50%")  # fmt: skip
    assert "nobody who sees at most 1 release of an input gets further than" in record.verdict
    assert [entry.broken for entry in record.conditions] == [False, False]
    assert "averaging" in {entry.attack for entry in record.not_tried}
    with pytest.raises(SystemExit) as left:
        audited(tmp_path / "split", data, tmp_path / "out", "--releases", "1", "--fail-if", "ceiling >= 0",
                "--fail-if", "leakage.white-box < 2")  # fmt: skip
    assert left.value.code == 1
    broken = capsys.readouterr().out.splitlines()[-2:]
    assert broken[0].startswith("FAIL: ceiling is ")
    assert broken[1].startswith("FAIL: leakage.white-box was not measured")


@pytest.mark.usefixtures("cheap")
def test_whoever_holds_the_halves_gets_more_and_begins_with_what_the_time_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "CHEAP", CHEAP | {"map"})
    input = TensorSpec((1, 16, 16), "float32", 0.0, 1.0)
    halves = split_at(zoo.build("he_lenet", input, 3, 0), "conv1", input)
    folder.save(tmp_path / "split", halves, model="he_lenet", classes=3, defense={**NOISE, "sigma": 0.1}, data=None)
    coarse = np.random.default_rng(0).random((240, 1, 4, 4), np.float32)
    np.savez(tmp_path / "images.npz", x=coarse.repeat(4, 2).repeat(4, 3), y=np.arange(240) % 3)
    record = audited(tmp_path / "split", tmp_path / "images.npz", tmp_path / "out", "--count", "8", "--releases", "2",
                     "--budget", "1h")  # fmt: skip
    assert record.access == "WHITE_BOX"
    # The list is played by the distance with queries alone, and by the likelihood with the settings of the defense.
    played = {(found.access, found.n_releases) for found in record.identification if found.attack == "watch-list"}
    assert played == {("BLACK_BOX", 1), ("BLACK_BOX", 2), ("WHITE_BOX", 1), ("WHITE_BOX", 2)}
    assert row(record, "map attack=ridge").access == "WHITE_BOX"  # the decoder was too dear
    assert record.worst("QUERY_FREE").label == "mean-image"
    assert record.worst("WHITE_BOX").leakage_gain.value >= record.worst("BLACK_BOX").leakage_gain.value > 0.5
    dear = {entry.label: entry.reason for entry in record.not_tried if entry.why == BUDGET}
    assert {"decoder", "stack", "ensemble", "query-free attack=ridge", "white-box"} <= set(dear)
    assert "averaging attack=decoder n_releases=2" not in dear  # begun with ridge, it is the one that ran


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, data):
    """A split folder, and a tap of the first private images with the images themselves as the truth."""
    place = tmp_path_factory.mktemp("recorded")
    manifest = write_split(place / "split")
    private = load(str(data), None, 0, shape=manifest.input.shape).private
    tap = taps.Tap(place / "tap", manifest)
    with serving(place / "split", "inprocess", tap=tap) as client:
        edge = edge_at(place / "split", client)
        for number in range(12):
            edge.infer(private.inputs[number : number + 1], number)
    tap.close()
    np.savez(place / "truth.npz", x=private.inputs[:12])
    return place


@pytest.mark.usefixtures("cheap")
def test_a_tap_is_attacked_itself_where_the_truth_is_known(recorded, tmp_path, data):
    words = ["--tap", str(recorded / "tap"), "--truth", str(recorded / "truth.npz")]
    record = audited(recorded / "split", data, tmp_path, *words)
    assert (record.scored_on, record.n, record.tap.scored) == ("tap", 12, True)
    assert {entry.deployment for entry in (*record.attacks, *record.identification)} == {"tap"}
    assert ways(record, "watch-list").candidates == 12
    assert set(record.hashes["tap"]) == {"tap.bin", "tap.jsonl"}


@pytest.mark.usefixtures("cheap")
def test_without_the_truth_the_tap_is_shown_and_data_of_the_kind_is_scored(recorded, tmp_path, data):
    record = audited(recorded / "split", data, tmp_path, "--tap", str(recorded / "tap"))
    assert (record.scored_on, record.n, record.tap.n, record.tap.scored) == ("simulated", 20, 12, False)
    assert record.tap.rebuilt == ("nearest", "ridge")
    assert any("shown and not scored" in note for note in record.notes)
    page = (tmp_path / "audit.html").read_text()
    assert "What was rebuilt of the first inputs of the tap" in page
    assert "ridge: what it rebuilt of the first inputs of the tap" in page


@pytest.mark.usefixtures("cheap")
def test_the_file_of_a_head_is_all_that_a_black_box_attack_needs(recorded, tmp_path, data):
    head = shutil.copy(recorded / "split/head.onnx", tmp_path / "device.onnx")
    record = audited(Path(head), data, tmp_path / "out")
    whole = audited(recorded / "split", data, tmp_path / "whole")
    assert (record.foreign, record.access, record.accuracy, record.version) == (True, "BLACK_BOX", None, "")
    assert "foreign ONNX file of the head" in record.access_says
    assert row(record, "ridge").leakage_gain == row(whole, "ridge").leakage_gain
    assert ways(record, "watch-list").top_1 == ways(whole, "watch-list").top_1
    # The tap says for which split it was recorded, of which there is nothing here.
    shown = audited(Path(head), data, tmp_path / "tap", "--tap", str(recorded / "tap"))
    assert "Only the shape of the smashed data tells that the tap belongs to the head." in shown.notes


def refused(*words, kind=ConfigError, match):
    with pytest.raises(kind, match=match):
        cli.app().cli(args=["audit", *map(str, words)])


def test_what_cannot_work_is_said_before_any_work(recorded, tmp_path, data, monkeypatch):
    monkeypatch.setattr(audit, "attackers_data", lambda *rest: pytest.fail("work was done"))
    split, out = recorded / "split", ["--out", tmp_path / "out"]
    refused(split, *out, match="names no data set; name data of the kind with --data")
    with_data = [split, "--data", data, *out]
    refused(*with_data, "--budget", "0s", match="number above 0")
    refused(*with_data, "--fail-if", "leek > 0.5", match="names the figure 'leek'.*leakage")
    refused(*with_data, "--fail-if", "leakage", match="is not a condition")
    refused(*with_data, "--fail-if", "leakage > 3dB", match="has another unit")
    refused(*with_data, "--fail-if", "psnr > 3%", match="has another unit")
    refused(*with_data, "--truth", recorded / "truth.npz", match="name the tap with --tap")
    refused(*with_data, "--mean", "0.5", match="for the ONNX file of a head")
    refused(tmp_path, "--data", data, *out, kind=SplitError, match="is no split folder")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("n", [3, 150])
def test_too_few_inputs_are_refused_with_their_number_and_the_least(recorded, tmp_path, data, n):
    few = tmp_path / "few.npz"
    np.savez(few, x=np.load(data)["x"][:n])
    match = f"holds {n} inputs, .*at least 20.*at least 50.* at least 210 images"
    head = shutil.copy(recorded / "split/head.onnx", tmp_path / "device.onnx")
    for given in (recorded / "split", head):
        refused(given, "--data", few, "--out", tmp_path / "out", kind=DataError, match=match)
    words = [recorded / "split", "--data", data, "--out", tmp_path / "out"]
    refused(*words, "--auxiliary", 10, match="state at least 50, or 0 for all")


def test_as_many_images_as_the_refusal_names_are_enough():
    from cutlayer.data.parts import dealt
    from cutlayer.data.splits import NO_CLASS, Dataset, Splits
    from cutlayer.experiment.enough import LEAST_IN_ONE, check_enough

    for classes in (1, 10):
        labels = np.arange(LEAST_IN_ONE) % classes if classes > 1 else np.full(LEAST_IN_ONE, NO_CLASS)
        for seed in range(20):
            parts = dealt([Dataset(np.zeros((LEAST_IN_ONE, 1, 2, 2), np.float32), labels)], seed)
            check_enough(Splits("few", (), *parts), private=True)


def test_data_of_another_size_and_a_tap_of_another_split_are_refused(recorded, tmp_path, data):
    out = ["--out", tmp_path / "out"]
    refused(recorded / "split", "--data", "digits", *out, match="digits")
    other = tmp_path / "other"
    write_split(other, seed=1)
    refused(other, "--data", data, "--tap", recorded / "tap", *out, kind=SplitError, match="was recorded for")


def test_a_tap_with_nan_is_refused(recorded, tmp_path, data):
    tap = Path(shutil.copytree(recorded / "tap", tmp_path / "tap"))
    content = np.fromfile(tap / "tap.bin", np.float32)
    content[72 * 3] = np.nan
    content.tofile(tap / "tap.bin")
    words = [recorded / "split", "--data", data, "--tap", tap, "--out", tmp_path / "out"]
    refused(*words, kind=DataError, match="NaN or infinity in 1 of 12 samples, first in input 3")


def test_a_file_that_is_no_head_is_refused(tmp_path, data):
    from onnx import helper

    both = [helper.make_node("Relu", ["image"], ["a"]), helper.make_node("Neg", ["image"], ["b"])]
    write_model(tmp_path / "two.onnx", both, ("image", (1, 6, 6)), ("a", (1, 6, 6)), [])
    import onnx

    model = onnx.load(tmp_path / "two.onnx")
    model.graph.output.append(helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, ["N", 1, 6, 6]))
    onnx.save(model, str(tmp_path / "two.onnx"))
    (tmp_path / "torn.onnx").write_bytes(b"no model")
    out = ["--data", data, "--out", tmp_path / "out"]
    refused(
        tmp_path / "two.onnx", *out, kind=SplitError, match="is no head: a head takes one input and gives one tensor"
    )
    refused(tmp_path / "torn.onnx", *out, kind=SplitError, match="cannot be read as an ONNX model")
    refused(tmp_path / "absent.onnx", *out, kind=SplitError, match="There is no file")


def test_a_budget_that_is_too_small_for_anything_says_what_the_smallest_is(tmp_path, data):
    write_split(tmp_path / "split")
    words = ["--data", data, "--budget", "1us", "--out", tmp_path / "out"]
    refused(
        tmp_path / "split",
        *words,
        match="too small for anything.*the smallest budget that leaves room for an attack is",
    )
    assert not (tmp_path / "out").exists()


class TestAffordable:
    """What is chosen, given what an attack would take."""

    @pytest.fixture
    def seen(self, tmp_path, data, monkeypatch):
        """A view and what was observed, with attacks of which each would take 100 s."""
        write_split(tmp_path / "split")
        split = open_split(tmp_path / "split")
        held = load(str(data))
        views = adversary.viewer(split, split.head(), deployed(split), held.auxiliary, codec="raw", seed=0, key="none",
                                 vantage=CLOUD)  # fmt: skip
        monkeypatch.setattr(affordable, "attacked_s", lambda *rest: 100.0)
        return views, None, None

    def chosen(self, seen, named, left_s, ran=None, monkeypatch=None):
        views, observed, among = seen
        purse = Purse(1.0, 0.0)
        monkeypatch.setattr(Purse, "left_s", left_s)
        view = views(named, ATTACKS.make(named.name, **named.options))
        observed = np.zeros((1, 1))
        return affordable.afforded(named, view, observed, among, purse, ran or {})

    def test_an_attack_gets_half_of_what_is_left_and_the_steps_that_fit(self, seen, monkeypatch):
        decoder = Named("decoder")
        assert self.chosen(seen, decoder, 200.0, monkeypatch=monkeypatch) == decoder
        fewer = self.chosen(seen, decoder, 120.0, monkeypatch=monkeypatch)
        assert (fewer.options, fewer.label) == ({"epochs": 10}, "decoder, 10 of 20 steps")
        left_out = self.chosen(seen, decoder, 1.0, monkeypatch=monkeypatch)
        assert (left_out.why, left_out.access) == (BUDGET, "BLACK_BOX")
        assert "about 10 s, and 1 s of the budget were left" in left_out.reason  # two epochs of twenty

    def test_what_takes_no_steps_runs_while_there_is_time(self, seen, monkeypatch):
        assert self.chosen(seen, Named("ridge"), 0.1, monkeypatch=monkeypatch) == Named("ridge")
        assert self.chosen(seen, Named("ridge"), 0.0, monkeypatch=monkeypatch).reason == "The budget of 1 s was spent."

    def test_what_loops_without_steps_runs_in_full_or_not_at_all(self, seen, monkeypatch):
        assert self.chosen(seen, Named("kernel-ridge"), 200.0, monkeypatch=monkeypatch) == Named("kernel-ridge")
        left_out = self.chosen(seen, Named("kernel-ridge"), 199.0, monkeypatch=monkeypatch)
        assert left_out.reason.startswith("It would take about 2 min, and 3 min of the budget were left")

    def test_the_inner_attack_is_the_one_that_ran(self, seen, monkeypatch):
        ran = {"decoder": Named("decoder", {"epochs": 10}, "decoder, 10 of 20 steps")}
        stack = self.chosen(seen, Named("stack"), 200.0, ran, monkeypatch)
        assert stack.options == {"attacks": ({"name": "ridge"}, {"name": "decoder", "epochs": 10})}
        assert stack.label == "stack (decoder, 10 of 20 steps)"
        assert self.chosen(seen, Named("stack"), 100.0, ran, monkeypatch).why == BUDGET  # it has no steps of its own
        refined = self.chosen(seen, Named("map"), 100.0, ran, monkeypatch)
        assert refined.options == {"iterations": 50, "options": {"epochs": 10}}
        assert refined.label == "map, 50 of 100 steps (decoder, 10 of 20 steps)"
        whole = {"decoder": Named("decoder")}
        assert self.chosen(seen, Named("map"), 100.0, whole, monkeypatch).options == {"iterations": 50}

    def test_every_registered_attack_is_on_the_ladder_once_or_more(self, seen, tmp_path):
        split = open_split(tmp_path / "split")
        subject = Subject(split, DEFENSES.make("top-k", sparsity=0.9), "int8+zstd", 4, False)
        found = list(ladder(subject, [Named("watch-list")]))

        def names(found):
            return {entry.attack if isinstance(entry, NotTried) else entry.name for entry in found}

        for kind in ("image", "table", "tokens"):
            of_kind = names(ladder(replace(subject, kind=kind), [Named("watch-list")]))
            parts = {name: ATTACKS.make(name).parts for name in ATTACKS}
            # One that begins with an attack on another kind, as ensemble with a decoder of images, would only fail.
            fit = {name for name in ATTACKS if all(kind in part.rebuilds for part in parts[name])}
            assert of_kind == fit - ({"mean-image"} if kind != "image" else set()), "each kind has one floor"
        assert {"mask-aware", "traffic"} <= {entry.name for entry in found if isinstance(entry, Named)}
