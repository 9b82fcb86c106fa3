"""A whole experiment on the embedded digits: real processes, real sockets, every record."""

import json
import sqlite3
import subprocess
import sys

import numpy as np
import psutil
import pytest
import torch

from cutlayer import cli
from cutlayer.data.load import load
from cutlayer.errors import ConfigError, SplitError
from cutlayer.experiment import plan, victim
from cutlayer.experiment.rehearsal import rehearse
from cutlayer.experiment.run import loading, run_all
from cutlayer.models import folder as folders
from cutlayer.records.reading import read, read_result
from cutlayer.records.run import PIXELS, WATCH_LIST
from cutlayer.report.runs.terminal import text
from cutlayer.split_folder import open_split
from cutlayer.trace import STAGES

PLAN = """
name = "tiny"
data = "digits"
model = "resnet20"
cut = "layer1.0"
training = {epochs = 1}
measure = {count = 50, private = 12, warmup = 2}
deployment = [{transport = "zmq", head = "onnx"}, {transport = "grpc", head = "torch"}]
attack = [{name = "mean-image"}, {name = "nearest"}, {name = "ridge"}, {name = "averaging", n_releases = 8}]
"""
TWO_DEFENSES = """
defense = [{name = "none"}, {name = "gaussian-noise", sigma = 0.5}]
[[probe]]
target = "attribute"
attribute = "even"
images = 60
n_releases = [1, 2]
[[probe]]
target = "membership"
images = 60
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    path = folder / "tiny.toml"
    path.write_text(PLAN + TWO_DEFENSES)
    progress = []
    results = run_all(plan.load(path), folder, resume=True, data_root=None, say=progress.append)
    return folder, path, results, progress


def privacy(result, attack, deployment="zmq-onnx"):
    return next(a for a in result.privacy if (a.attack, a.deployment) == (attack, deployment))


def test_a_dry_run_says_what_would_be_done_and_does_nothing(tmp_path, capsys):
    path = tmp_path / "plan.toml"
    path.write_text(PLAN.replace("epochs = 1", "epochs = 5") + TWO_DEFENSES)
    cli.app().cli(args=["run", str(path), "--dry-run", "--out", str(tmp_path / "runs")])
    first, second = capsys.readouterr().out.split("defense gaussian-noise sigma=0.5")
    parts = ["training resnet20", "cutting", "over zmq-onnx", "over grpc-torch", "with mean-image", "with ridge"]
    parts += ["with watch-list", "probing", "the spectrum of the head", "the ceiling of", "predictors of leakage"]
    for printed in (first, second.replace("hardening with gaussian-noise sigma=0.5, ", "training resnet20 ")):
        assert [part for part in parts if part in printed] == parts
    assert (first.count("with watch-list"), second.count("with watch-list")) == (1, 2)
    assert "averaging" not in first
    assert "averaging" in second
    assert "hardening with gaussian-noise sigma=0.5" in second
    assert "training" not in second
    assert "In all about" in second
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_exports_and_rehearses_once_what_differs_in_a_strength_alone(tmp_path, monkeypatch):
    path, exported, said = tmp_path / "plan.toml", [], []
    short = PLAN.replace("layer1.0", "bn1").replace(', {name = "averaging", n_releases = 8}', "")
    path.write_text(
        short
        + """
        defense = [{name = "none"}, {name = "gaussian-noise", sigma = 0.5}, {name = "gaussian-noise", sigma = 2.0}]
        """
    )
    export = folders.export_onnx
    monkeypatch.setattr(folders, "export_onnx", lambda *of, **how: exported.append(of[2].name) or export(*of, **how))
    experiments = plan.load(path)
    estimates = rehearse(experiments, tmp_path / "runs", loading(None), said.append)
    assert sorted(exported) == ["head.onnx", "tail.onnx"]
    assert "rehearsing 2 that differ in more than the seed or a strength" in said[0]
    weak, strong = ([part for part in parts if "export" in part.what] for parts in estimates[1:])
    assert [part.what for part in strong] == ["hardening with gaussian-noise sigma=2.0, cutting, export"]
    assert [part.seconds for part in strong] == [part.seconds for part in weak]
    assert weak[0].seconds > 0.5 * next(part.seconds for part in estimates[0] if "export" in part.what)


def test_a_dry_run_leaves_out_what_is_finished(runs):
    folder, path, _, _ = runs
    assert rehearse(plan.load(path), folder, loading(None), lambda text: None) == [[], []]


def test_both_deployments_are_measured_stage_by_stage(runs):
    folder, _, results, _ = runs
    for result in results:
        assert [cost.deployment for cost in result.cost] == ["zmq-onnx", "grpc-torch"]
        with np.load(folder / result.id / "requests.npz") as times:
            for label in ("zmq-onnx", "grpc-torch"):
                total = times[f"{label}/end_to_end_ns"]
                assert len(total) == 50
                np.testing.assert_array_equal(sum(times[f"{label}/{stage}_ns"] for stage in STAGES), total)
                assert (times[f"{label}/tensor_bytes"] == np.prod(result.smashed) * 4).all()
        assert result.cost[0].end_to_end["p99"] is None
        assert result.cost[0].end_to_end["p50"] > 0


def test_every_attack_is_scored_on_each_tap_with_n_and_interval(runs):
    for result in runs[2]:
        expected = ["mean-image", "nearest", "ridge", *(() if result.undefended else ["averaging"])]
        ran = [(a.attack, a.deployment) for a in result.privacy]
        assert ran == [(attack, deployment) for attack in expected for deployment in ("zmq-onnx", "grpc-torch")]
        for attack in result.privacy:
            assert attack.n == 12
            for estimate in (*attack.metrics.values(), attack.leakage_gain):
                assert estimate.low <= estimate.value <= estimate.high
        best = max(result.privacy, key=lambda a: a.leakage_gain.value)
        assert result.worst_case.leakage_gain == best.leakage_gain
        assert result.worst_case.metrics == best.metrics


def test_every_run_plays_the_watch_list_though_the_plan_names_none(runs):
    plain, noisy = runs[2]
    for result, releases in ((plain, [1]), (noisy, [1, 8])):
        listed = [found for found in result.identification if found.how == WATCH_LIST]
        assert [(found.n_releases, found.deployment) for found in listed] == [
            (n, deployment) for n in releases for deployment in ("zmq-onnx", "grpc-torch")
        ]
        assert {found.attack for found in listed} == {"watch-list"}
        in_pixels = [found for found in result.identification if found.how == PIXELS]
        assert [(found.label, found.deployment) for found in in_pixels] == [
            (a.label, a.deployment) for a in result.privacy
        ]
        for found, attack in zip(in_pixels, result.privacy, strict=True):
            assert found.top_1.value == pytest.approx(attack.metrics["identification"].value)
        for found in result.identification:
            assert found.candidates == result.candidates
            assert found.top_1.n == 12
            assert found.curve[0] == pytest.approx(found.top_1.value, abs=1e-6)
            assert found.curve[0] <= found.top_10.value <= found.curve[-1] == 1
        assert result.identified.top_1.value == max(found.top_1.value for found in result.identification)
        assert not any(flag.flag == "no-watch-list" for flag in result.flags)
    assert plain.identified.top_1.value == 1
    assert noisy.identified.access in ("BLACK_BOX", "WHITE_BOX")


def test_the_numbers_mean_what_they_should(runs):
    plain, noisy = runs[2]
    assert abs(privacy(plain, "mean-image").leakage_gain.value) < 1e-6
    assert privacy(plain, "ridge").leakage_gain.value > 0.5
    assert privacy(noisy, "ridge").leakage_gain.value < privacy(plain, "ridge").leakage_gain.value
    assert privacy(noisy, "averaging").leakage_gain.value > privacy(noisy, "ridge").leakage_gain.value


def test_without_randomness_both_deployments_leak_the_same(runs):
    plain = runs[2][0]
    for attack in ("nearest", "ridge"):
        a, b = (privacy(plain, attack, d).metrics["mse"].value for d in ("zmq-onnx", "grpc-torch"))
        assert a == pytest.approx(b, rel=1e-3)


def test_noise_leaves_the_spectrum_of_the_head_alone(runs):
    for result in runs[2]:
        assert result.spectrum.head == result.spectrum.undefended
        assert 0 < result.spectrum.head.passed <= result.spectrum.directions <= 64


def test_the_records_are_complete_and_indexed_once(runs):
    folder, _, results, _ = runs
    with sqlite3.connect(folder / "index.sqlite") as database:
        rows = database.execute("select experiment, attack, transport, mse from rows").fetchall()
    database.close()
    assert len(rows) == len(set(rows)) == sum(len(r.privacy) for r in results)
    for result in results:
        here = folder / result.id
        assert {p.name for p in here.iterdir()} == {
            "experiment.toml", "env.json", "requests.npz", "answers.npz", "result.json", "reconstructions.npz",
            "scores.npz", "split",
        }  # fmt: skip
        assert read_result(here) == result
        assert json.loads((here / "env.json").read_text())["packages"]["torch"]
        (again,) = plan.load(here / "experiment.toml")
        assert again.id == result.id


def test_every_answer_score_and_reconstruction_is_kept(runs):
    folder, _, results, _ = runs
    for result in results:
        here, places = folder / result.id, ("zmq-onnx", "grpc-torch")
        with np.load(here / "answers.npz") as answers:
            right = {place: answers[f"served/{place}"] == answers["labels"] for place in places}
            undefended = answers["undefended"] == answers["labels"]
        assert result.utility.accuracy.value == right["zmq-onnx"].mean()
        assert result.utility.baseline.value == undefended.mean()
        assert result.utility.change.value == pytest.approx(right["zmq-onnx"].mean() - undefended.mean())
        assert result.utility.change.low < result.utility.change.value < result.utility.change.high
        with np.load(here / "scores.npz") as scores:
            for attack in result.privacy:
                for metric, estimate in attack.metrics.items():
                    kept = scores[f"{attack.deployment}/{attack.label}/{metric}"]
                    assert kept.shape == (12,)
                    assert kept.mean() == estimate.value
        (run,) = (run for run in read(folder)[0] if run.result.id == result.id)
        originals = load("digits", None, 0).private.inputs[:12]
        np.testing.assert_allclose(run.pictures.originals, originals, atol=1e-3)
        for attack in result.privacy:
            rebuilt = run.pictures.rebuilt[attack.deployment, attack.label]
            assert rebuilt.dtype == np.float16
            error = ((rebuilt.astype(np.float32) - originals) ** 2).mean()
            assert error == pytest.approx(attack.metrics["mse"].value, rel=1e-2)


def test_the_probes_are_in_the_records_and_in_the_terminal(runs):
    folder, _, results, _ = runs
    scores = ["confidence", "loss", "distance", "calibrated"]
    assert [(record.how, record.n_releases) for record in results[0].probes] == [
        ("linear", 1),
        *((s, 1) for s in scores),
    ]
    assert [record.n_releases for record in results[1].probes] == [1, 2, 1, 1, 1, 1]
    assert all(record.auc.n == (60 if record.target == "attribute" else 120) for record in results[1].probes)
    assert read_result(folder / results[1].id).probes == results[1].probes
    assert all(result.seconds["probe"] > 0 for result in results)
    printed = text(results)
    assert "even, linear x2" in printed
    assert max(map(len, printed.splitlines())) <= 120


def test_the_record_says_on_what_the_figures_depend(runs):
    folder, _, results, _ = runs
    env = json.loads((folder / results[0].id / "env.json").read_text())
    assert env["threads"] == {"attacker": torch.get_num_threads(), "edge": 1, "cloud": 1}
    assert env["torch_kernels"] == torch.backends.cpu.get_cpu_capability()
    assert {"instruction_sets", "bfloat16", "load_1min", "cpu"} <= env.keys()
    assert all(0 <= cost.others <= 1 for result in results for cost in result.cost)


def test_the_undefended_model_is_trained_and_exported_once_for_all_defenses(runs):
    folder, _, results, progress = runs
    assert sum("training resnet20" in line for line in progress) == 1
    assert sum("exporting" in line for line in progress) == 1
    manifests = [open_split(folder / result.id / "split").manifest for result in results]
    assert manifests[0].files == manifests[1].files
    assert [manifest.defense["name"] for manifest in manifests] == ["none", "gaussian-noise"]


def test_the_last_lines_say_where_the_time_went(runs):
    assert any("WHERE THE TIME WENT" in line for line in runs[3])
    assert not any("\n" in line for line in runs[3])
    assert any("attack: averaging n_releases=8" in line for line in runs[3])


def test_a_finished_experiment_is_not_run_again(runs):
    folder, path, results, _ = runs
    progress = []
    assert run_all(plan.load(path), folder, resume=True, data_root=None, say=progress.append) == results
    assert not any("training" in line or "attacking" in line for line in progress)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"measure.private": "100000"}, ConfigError),
        ({"measure.count": "0"}, ConfigError),
        ({"training.images": "100000"}, ConfigError),
        ({"cut": "layer1.9"}, SplitError),
    ],
)
def test_what_cannot_work_is_found_before_anything_is_written(runs, tmp_path, settings, error):
    with pytest.raises(error):
        run_all(plan.load(runs[1], settings), tmp_path / "runs", resume=True, data_root=None, say=print)
    assert not (tmp_path / "runs").exists()


def test_killed_or_stopped_at_any_stage_it_resumes_and_leaves_no_process_behind(tmp_path):
    path = tmp_path / "tiny.toml"
    # A model that is exported in half the time.
    path.write_text(PLAN.replace("resnet20", "lenet").replace("layer1.0", "conv1"))
    command = [sys.executable, "-m", "cutlayer.cli", "run", path, "--out", tmp_path / "runs"]
    stops = {
        "training": "terminate",
        "exporting": "kill",
        "serving over grpc": "terminate",
        "attacking with ridge": "kill",
    }
    for moment, stop in stops.items():
        victim = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        line = next((line for line in victim.stderr if moment in line), None)
        getattr(victim, stop)()
        victim.communicate()
        assert line, f"never {moment}"
        assert victim.returncode == {"kill": -9, "terminate": 143}[stop]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    finished = ("training lenet", "exporting", "serving", "attacking with nearest")
    assert not [part for part in finished if part in done.stderr]
    (result,) = (tmp_path / "runs").glob("*/result.json")
    typed = json.loads((result.parent / "env.json").read_text())["command"]
    assert [*typed[:2], (tmp_path / typed[2]).name] == ["cutlayer", "run", path.name]
    assert {a.attack for a in read_result(result.parent).privacy} >= {"mean-image", "nearest", "ridge"}
    left = [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])]
    assert psutil.wait_procs(left, timeout=10)[1] == []


def test_model_defense_and_attackers_see_no_more_images_than_allowed(runs):
    (experiment, *_) = plan.load(runs[1], {"training.images": "100", "measure.auxiliary": "50"})
    data = load("digits", None, 0)
    shown = victim.shown(experiment, data)
    assert (len(shown.train), len(shown.auxiliary)) == (100, 50)
    assert shown.private is data.private
    shown = victim.shown(plan.load(runs[1])[0], data)
    assert (len(shown.train), len(shown.auxiliary)) == (len(data.train), len(data.auxiliary))
