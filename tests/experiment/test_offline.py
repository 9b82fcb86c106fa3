"""A recorded tap, attacked where neither the device nor the server is."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from cutlayer import cli
from cutlayer.attacks.view import CLOUD, LENGTHS, SMASHED, VANTAGES, Access
from cutlayer.cloud import tap as taps
from cutlayer.data.load import load
from cutlayer.errors import DataError, SplitError, WithheldError
from cutlayer.experiment import adversary
from cutlayer.experiment.offline import attack_tap
from cutlayer.experiment.plan import attacks_named
from cutlayer.experiment.recorded import read_tap, read_truth
from cutlayer.privacy.score import Chosen
from cutlayer.records.dataclass_json import load as load_record
from cutlayer.records.run import most_identified
from cutlayer.records.tap import TapRecord
from cutlayer.registry import DEFENSES
from cutlayer.report.runs.tap import text
from cutlayer.split_folder import open_split
from cutlayer.wire.codecs.packed import codec_named
from tests.tiny_split import edge_at, serving, write_split

N, ROUNDS = 5, 3
NOISE = {"name": "gaussian-noise", "sigma": 0.1}
ASKED = attacks_named(["mean-image", "ridge"])
CODEC = "int8:channel+zstd"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A split folder, its data, a tap of test and private images, and the device's record of what it sent."""
    folder = tmp_path_factory.mktemp("recorded")
    coarse = np.random.default_rng(0).random((320, 3, 3), np.float32)
    np.savez(folder / "images.npz", x=coarse.repeat(2, 1).repeat(2, 2), y=np.arange(320) % 3)
    data = load(str(folder / "images.npz"))
    manifest = write_split(folder / "split", defense=NOISE)
    tap = taps.Tap(folder / "tap", manifest)
    sent = [(0, i, 0) for i in range(2)] + [(1, i, k) for k in range(ROUNDS) for i in range(N)]
    with serving(folder / "split", "inprocess", tap=tap) as client:
        edge = edge_at(folder / "split", client, DEFENSES.make("gaussian-noise", sigma=0.1), codec_named(CODEC))
        for number, (part, image, _) in enumerate(sent):
            edge.infer((data.private if part else data.test).inputs[image : image + 1], number)
    tap.close()
    part, image, release = np.array(sent).T
    labels = np.where(part, data.private.labels[image], data.test.labels[image])
    ids = np.array([edge.request_id(number) for number in range(len(sent))])
    np.savez(folder / "record.npz", id=ids, part=part, image=image, release=release, labels=labels)
    return SimpleNamespace(folder=folder, data=data, split=open_split(folder / "split"), tap=folder / "tap")


def attacked(recorded, out, **options):
    options = {"access": Access.WHITE_BOX, "vantage": CLOUD, "data": str(recorded.folder / "images.npz")} | options
    said = []
    asked = options.pop("asked", ASKED)
    record = attack_tap(recorded.tap, recorded.split, asked, out, say=said.append, **options)
    return record, said


def test_the_rows_are_those_of_a_run_on_the_same_requests(recorded, tmp_path):
    asked = (*ASKED, *attacks_named(["averaging"]))
    asked[-1].options["n_releases"] = ROUNDS
    record, _ = attacked(recorded, tmp_path / "out", asked=asked, truth=recorded.folder / "record.npz")
    assert (record.n, record.n_releases, record.scored, record.codec) == (N, ROUNDS, True, CODEC)
    assert record.failed == ()

    # What a run does with what its server has recorded.
    defense, manifest = DEFENSES.make("gaussian-noise", sigma=0.1), recorded.split.manifest
    seen, _, _ = read_tap(recorded.tap, manifest, truth=read_truth(recorded.folder / "record.npz"))
    views = adversary.viewer(
        recorded.split, recorded.split.head(), defense, recorded.data.auxiliary, codec=CODEC, seed=0,
        key="gaussian-noise sigma=0.1", vantage=CLOUD,
    )  # fmt: skip
    achieved, _ = adversary.attack_all(
        adversary.attacks(asked, defense), views, {"tap": seen}, recorded.data, Chosen(), tmp_path / "work", print
    )
    for row, again in zip(achieved.rows, record.attacks, strict=True):
        assert (row.label, row.leakage_gain, row.metrics) == (again.label, again.leakage_gain, again.metrics)
    assert [row.label for row in achieved.rows] == ["mean-image", "ridge", f"averaging n_releases={ROUNDS}"]

    ways = [(found.label, found.how, found.n_releases, found.candidates) for found in record.identification]
    n = len(recorded.data.private)
    assert ways[:2] == [("mean-image", "pixels", 1, n), ("ridge", "pixels", 1, n)]
    assert [(how, releases) for _, how, releases, _ in ways[3:]] == [("watch list", 1), ("watch list", ROUNDS)]
    assert max(found.top_1.value for found in record.identification[3:]) > 0.5

    written = json.loads((tmp_path / "out/attacks.json").read_text())
    assert load_record(TapRecord, written) == record
    with np.load(tmp_path / "out/reconstructions.npz") as arrays, np.load(tmp_path / "out/scores.npz") as scores:
        np.testing.assert_array_equal(arrays["originals"], recorded.data.private.inputs[:N])
        assert arrays["rebuilt/ridge"].shape == (N, 1, 6, 6)
        assert scores["ridge/mse"].mean() == record.attacks[1].metrics["mse"].value
    page = (tmp_path / "out/page.html").read_text()
    assert "ridge: the first inputs of the tap" in page
    assert "The attacker is the server" in page
    best = most_identified(record.identification)
    for shown in (page, text(record)):
        assert f"Identified: {100 * best.top_1.value:.1f} %" in " ".join(shown.split())
    assert page.count("<td>watch list</td>") == 2


def test_without_the_truth_there_are_pictures_and_no_figures(recorded, tmp_path):
    record, said = attacked(recorded, tmp_path / "out")
    assert (record.n, record.n_releases, record.scored) == (2 + N * ROUNDS, 1, False)
    assert record.attacks == ()
    assert any("nothing could be scored" in line for line in said)
    assert any("Nothing in a tap tells which requests carry the same input" in line for line in said)
    with np.load(tmp_path / "out/reconstructions.npz") as arrays:
        assert set(arrays) == {"rebuilt/mean-image", "rebuilt/ridge"}
    assert not (tmp_path / "out/scores.npz").exists()
    page = (tmp_path / "out/page.html").read_text()
    assert "ridge: the first inputs" in page
    assert "Identified:" not in page + text(record)


def test_the_inputs_themselves_are_the_truth_in_the_order_of_the_requests(recorded, tmp_path):
    data = recorded.data
    np.savez(tmp_path / "x.npz", x=np.concatenate([data.test.inputs[:2], *[data.private.inputs[:N]] * ROUNDS])[:, 0])
    record, _ = attacked(recorded, tmp_path / "out", truth=tmp_path / "x.npz", count=2 + N * ROUNDS)
    assert record.scored
    assert record.attacks[1].leakage_gain.low > 0.3, "in another order, ridge is worse than the mean image"
    np.savez(tmp_path / "few.npz", x=data.test.inputs[:2, 0])
    with pytest.raises(DataError, match="holds 2 inputs, and 17 are attacked"):
        attacked(recorded, tmp_path / "out", truth=tmp_path / "few.npz")


def test_an_attacker_who_knows_the_rounds_averages_without_a_record(recorded):
    tapped = read_tap(recorded.tap, recorded.split.manifest, releases=1)[0]
    assert tapped[SMASHED].shape == (1, 2 + N * ROUNDS, 2, 6, 6)
    assert tapped[LENGTHS].shape == (1, 2 + N * ROUNDS, 1)
    with pytest.raises(DataError, match="17 samples, which make no 3 rounds of equal length"):
        read_tap(recorded.tap, recorded.split.manifest, releases=3)


def test_a_tap_of_another_split_is_refused_with_both_names(recorded, tmp_path):
    write_split(tmp_path / "other", seed=1)
    other = open_split(tmp_path / "other")
    mine, theirs = recorded.split.manifest.version, other.manifest.version
    with pytest.raises(SplitError, match=f"tiny@relu, version {mine}, and the split folder is .*version {theirs}"):
        attacked(SimpleNamespace(**{**vars(recorded), "split": other}), tmp_path / "out")
    assert not (tmp_path / "out/attacks.json").exists()


def test_an_older_tap_is_compared_by_its_shape(recorded, tmp_path):
    (tmp_path / "tap").mkdir()
    (tmp_path / "tap/tap.bin").write_bytes((recorded.tap / "tap.bin").read_bytes())
    lines = [json.loads(line) for line in (recorded.tap / "tap.jsonl").read_text().splitlines()]
    for line in lines:
        del line["model"], line["version"]
    (tmp_path / "tap/tap.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    _, _, notes = read_tap(tmp_path / "tap", recorded.split.manifest)
    assert "does not say for which split it was recorded" in notes[0]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"codec": "fp16"}, DataError, r"in the codec int8\+zstd, not in fp16"),
        ({"data": "digits"}, Exception, "images of 1x8x8"),
        ({"seed": 1, "truth": True}, DataError, "was not recorded with the private part"),
        ({"access": Access.QUERY_FREE}, WithheldError, "ridge needs black-box access, and query-free"),
        ({"vantage": VANTAGES["encrypted-link"]}, WithheldError, "ridge observes the smashed data"),
    ],
)
def test_what_does_not_belong_together_is_refused(recorded, tmp_path, options, error, message):
    options = {key: recorded.folder / "record.npz" if value is True else value for key, value in options.items()}
    with pytest.raises(error, match=message):
        attacked(recorded, tmp_path / "out", **options)


def test_a_private_image_that_the_attacker_holds_is_refused(recorded, tmp_path):
    sent = np.concatenate([recorded.data.auxiliary.inputs[:2], recorded.data.private.inputs[: N * ROUNDS]])
    np.savez(tmp_path / "x.npz", x=sent[:, 0])
    with pytest.raises(DataError, match="2 of 81 auxiliary inputs"):
        attacked(recorded, tmp_path / "out", truth=tmp_path / "x.npz")


def test_a_folder_that_is_no_tap_or_an_empty_one(recorded, tmp_path):
    with pytest.raises(DataError, match="holds no tap that can be read"):
        read_tap(tmp_path, recorded.split.manifest)
    taps.Tap(tmp_path).close()
    with pytest.raises(DataError, match="holds no request"):
        read_tap(tmp_path, recorded.split.manifest)


def test_the_command(recorded, tmp_path, capsys):
    words = ["attack", str(recorded.folder / "split"), str(recorded.tap), "--attacks", "mean-image,ridge"]
    words += ["--data", str(recorded.folder / "images.npz"), "--truth", str(recorded.folder / "record.npz")]
    cli.app().cli(args=[*words, "--out", str(tmp_path / "out"), "--access", "black-box"])
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines()[:-1])) <= 120
    assert "At most black-box access" in printed
    assert any(line.split()[:4] == ["ridge", "black-box", "1", str(N)] for line in printed.splitlines())


@pytest.mark.slow
def test_two_processes_of_torchrun_write_and_print_once_what_one_does(recorded, tmp_path):
    words = ["-m", "cutlayer.cli", "attack", recorded.folder / "split", recorded.tap, "--attacks", "mean-image,decoder"]
    words += ["--data", recorded.folder / "images.npz", "--truth", recorded.folder / "record.npz", "--out"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    found, printed = [], []
    for number, start in enumerate(([], torchrun)):
        command = [sys.executable, *start, *words, tmp_path / str(number)]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=env)
        assert done.returncode == 0, done.stderr
        found.append(json.loads((tmp_path / str(number) / "attacks.json").read_text())["attacks"])
        printed.append(done.stdout)
    for one, two in zip(*found, strict=True):
        # After 20 epochs the roundings of sums have grown; tests/nets/test_together.py compares pictures after a few.
        most = 0.0 if one["attack"] == "mean-image" else 0.1
        assert two["leakage_gain"]["value"] == pytest.approx(one["leakage_gain"]["value"], abs=most)
    assert [text.count("The page is") for text in printed] == [1, 1]
