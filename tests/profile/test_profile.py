"""The command as a user types it: real device and cloud processes, on models of a few operators."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from cutlayer.deployment import processes
from cutlayer.network.shaper import APPLICATION_LEVEL
from cutlayer.onnx.given import NOTHING
from cutlayer.profile.prepare import from_onnx
from cutlayer.records.profile_files import read
from cutlayer.split_folder import open_split
from tests.command import cutlayer
from tests.profile.profiled import QUICK, segmenter
from tests.tiny_split import images, write_split


def test_every_cut_has_what_it_costs(profiled):
    _, _, profile = profiled
    assert [cut.cut for cut in profile.cuts] == ["r1", "flat"]
    for cut in profile.cuts:
        # A head of microseconds is run for as long as --seconds say.
        assert cut.head_ns.n > 90
        assert 0 < cut.head_ns.p50 <= cut.head_ns.p95
        assert 30 <= cut.codecs["raw"].encode_ns.n <= 18 * cut.rounds
        assert cut.codecs["raw"].encode_ns.p99 is None
        assert min(cut.cold_ns.start_ns, cut.cold_ns.open_ns, cut.cold_ns.first_ns) > 0
        assert 20e6 < cut.peak_rss_bytes < 200e6
        assert cut.codecs["raw"].bytes == cut.bytes
        assert cut.codecs["int8"].bytes < cut.bytes
        # Ten logits and a header, whatever the cut and the codec.
        assert 40 < cut.codecs["raw"].answer_bytes < 40 + 300
    assert profile.cuts[1].macs > profile.cuts[0].macs == 4 * 64 * 27


def test_the_emulated_network_is_measured_and_its_delay_is_in_it(profiled):
    _, _, profile = profiled
    slow = [requests for cut in profile.cuts for requests in cut.networks["200mbit/2ms"].values()]
    assert all(requests.end_to_end_ns.p50 > 4e6 for requests in slow)
    measured = [requests for requests in slow if requests.source == "measured"]
    assert 3 <= len(measured) <= 4
    assert all(requests.end_to_end_ns.n for requests in measured)
    assert profile.cost_model.median_error < 1
    assert len(profile.cost_model.points) == len(measured)
    assert profile.networks["200mbit/2ms"].emulation == APPLICATION_LEVEL


def test_the_recommendation_is_the_smallest_figure_that_is_shown(profiled):
    _, stdout, profile = profiled
    for recommendation in profile.recommendations:
        best = recommendation.best
        shown = {
            (cut.cut, codec): requests.end_to_end_ns.p50
            for cut in profile.cuts
            for codec, requests in cut.networks[recommendation.network].items()
        }
        assert best.latency_ns == pytest.approx(min(shown.values()), abs=1)
        assert shown[best.cut, best.codec] == min(shown.values())
        assert f"{recommendation.network}: {best.cut} with {best.codec}, " in stdout
        assert best.cut in ("r1", "flat")
        assert recommendation.device_alone_ns > 0
    assert profile.bandwidth.best[0].from_bps == 0
    assert profile.bandwidth.best[-1].to_bps is None
    assert profile.verdict in stdout


def test_the_kernel_shapes_where_it_may_and_the_record_says_so(model, tmp_path):
    words = ["profile", model, *QUICK, "--cuts", "flat", "--network", "200mbit/1ms", "--tc", "--out", tmp_path / "out"]
    done = cutlayer(*words)
    if "cannot create network namespaces" in done.stderr:
        assert done.returncode == 2
        assert not (tmp_path / "out").exists()
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    profile = read(tmp_path / "out")
    label = profile.networks["200mbit/1ms"].emulation
    assert label.startswith(("tc netem in network namespaces", "tc tbf in network namespaces"))
    assert profile.settings.network_emulation == label
    assert f"({label})" in done.stdout
    assert profile.cuts[0].networks["200mbit/1ms"]["raw"].end_to_end_ns.p50 > 2e6


def test_another_profile_in_the_same_folder_leaves_no_cuts_of_the_first(model, tmp_path):
    for cut in ("r1", "flat"):
        candidates = from_onnx(model, [cut], NOTHING, tmp_path, None, lambda _: None)
    assert [candidate.folder for candidate in candidates] == list((tmp_path / "cuts").iterdir())
    assert open_split(candidates[0].folder).manifest.cut == "flat"


def test_the_split_folders_can_be_deployed(profiled):
    out, _, _ = profiled
    for folder in (out / "cuts").iterdir():
        open_split(folder).manifest.verify(folder, "head.onnx", "tail.onnx")


def test_a_large_answer_is_in_what_is_measured_and_in_what_is_computed(tmp_path):
    network, answer_bytes = "500mbit:100mbit/1ms", 21 * 48 * 48 * 4
    words = ["profile", segmenter(tmp_path / "model.onnx"), *QUICK[:4], "--codecs", "raw", "--cuts", "r3"]
    done = cutlayer(*words, "--network", network, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    profile = read(tmp_path / "out")
    (cut,) = profile.cuts
    assert answer_bytes < cut.codecs["raw"].answer_bytes < answer_bytes + 400
    # The shaper carries this answer in 15 ms; nothing can be faster.
    carried_ns = 8e9 * answer_bytes / 100e6
    assert cut.networks[network]["raw"].source == "measured"
    assert cut.networks[network]["raw"].stages_ns["network"] > carried_ns
    (check,) = profile.cost_model.points
    assert check.predicted_ns > carried_ns


def test_rounds_are_in_the_record(profiled):
    _, stdout, profile = profiled
    for cut in profile.cuts:
        assert cut.rounds >= 5
        assert len(cut.disturbed) <= cut.rounds
    of_cuts = sum(cut.rounds for cut in profile.cuts)
    # Five at least of the whole model, and three of each point over a network.
    assert profile.rounds >= of_cuts + 5 + 3 * len(profile.cost_model.points)
    assert f"{profile.set_aside} of {profile.rounds} rounds were set aside" in stdout or not profile.set_aside


def test_a_real_server_is_measured_and_the_other_cuts_computed(profiled, model, tmp_path):
    out, _, _ = profiled
    (folder,) = (out / "cuts").glob("*-flat")
    with processes.cloud(folder, "--listen", "grpc://127.0.0.1:0", "--threads", 1) as address:
        done = cutlayer(
            "profile", model, *QUICK, "--cuts", "r1,flat", "--connect", address, "--out", tmp_path / "again"
        )
        bare = shutil.copytree(folder, tmp_path / "bare", ignore=shutil.ignore_patterns("tail.onnx"))
        alone = cutlayer("profile", bare, *QUICK, "--connect", address, "--out", tmp_path / "alone")
        write_split(tmp_path / "other")
        refused = cutlayer("profile", tmp_path / "other", *QUICK, "--connect", address, "--out", tmp_path / "x")
    assert done.returncode == 0, done.stderr
    profile = read(tmp_path / "again")
    assert {cut.cut: cut.networks[address]["raw"].source for cut in profile.cuts} == {"r1": "model", "flat": "measured"}
    assert profile.settings.server == address
    assert alone.returncode == 0, alone.stderr
    assert read(tmp_path / "alone").local_ns is None
    assert refused.returncode == 2
    assert "holds none of the 1 cuts" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_device_with_nothing_but_onnx_runtime_profiles_a_split_folder(tmp_path):
    write_split(tmp_path / "split")
    code = (
        "import sys\n"
        "absent = {'torch', 'torchvision', 'onnx', 'PIL', 'matplotlib', 'skimage', 'sklearn', 'zstandard'}\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in absent:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from cutlayer.cli import main; main()\n"
    )
    words = ["profile", tmp_path / "split", *QUICK, "--network", "loopback", "--out", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "relu" in done.stdout


def test_the_device_needs_no_torch(tmp_path):
    write_split(tmp_path / "split")
    np.save(tmp_path / "images.npy", images(2))
    code = (
        "import sys, runpy; sys.modules['torch'] = sys.modules['torchvision'] = sys.modules['onnx'] = None\n"
        "runpy.run_module('cutlayer.deployment.device', run_name='__main__')\n"
        "assert not [n for n, m in sys.modules.items() if n.startswith(('torch', 'onnx.')) and m]\n"
    )
    options = {"head": "onnx", "threads": 1, "cores": [], "quota": None}
    tasks = [{"do": "head"}, {"do": "codec", "codec": "fp16"}, {"do": "codec", "codec": "nope"}]
    lines = [json.dumps(task | {"samples": 5, "seconds": 1, "least": 5}) + "\n" for task in tasks]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, tmp_path / "split", tmp_path / "images.npy", json.dumps(options)],
        input="".join(lines), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    opened, head, codec, refused = map(json.loads, done.stdout.splitlines())
    assert opened["open_ns"] > 0
    assert len(head["ns"]) >= 5
    assert set(codec["bytes"]) == {144}
    assert refused["kind"] == "ConfigError"
