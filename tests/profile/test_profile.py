"""The command as a user types it: real device and cloud processes, on models of a few operators."""

import csv
import json
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from cutlayer import cli
from cutlayer.experiment import processes
from cutlayer.network.shaper import APPLICATION_LEVEL
from cutlayer.profile import table
from cutlayer.spec import Manifest
from cutlayer.trace import STAGES
from tests.models.onnx_models import chain
from tests.tiny_split import images, write_split

QUICK = ("--samples", "90", "--seconds", "0.1", "--codecs", "raw,int8")


def cutlayer(*words):
    command = [sys.executable, "-m", "cutlayer.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return chain(tmp_path_factory.mktemp("model") / "chain.onnx")


@pytest.fixture(scope="module")
def profiled(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("profile")
    done = cutlayer("profile", model, *QUICK, "--cuts", "r1,flat", "--network", "loopback,200mbit/2ms", "--out", out)
    assert done.returncode == 0, done.stderr
    return out, done.stdout, json.loads((out / "profile.json").read_text())


def test_every_cut_has_what_it_costs(profiled):
    _, _, data = profiled
    assert [cut["cut"] for cut in data["cuts"]] == ["r1", "flat"]
    for cut in data["cuts"]:
        # A head of microseconds is run for as long as --seconds say.
        assert cut["head_ns"]["n"] > 90
        assert 0 < cut["head_ns"]["p50"] <= cut["head_ns"]["p95"]
        assert cut["codecs"]["raw"]["encode_ns"]["n"] == 90
        assert cut["codecs"]["raw"]["encode_ns"]["p99"] is None
        assert min(cut["cold_ns"].values()) > 0
        assert 20e6 < cut["peak_rss_bytes"] < 200e6
        assert cut["codecs"]["raw"]["bytes"] == cut["bytes"]
        assert cut["codecs"]["int8"]["bytes"] < cut["bytes"]
    assert data["cuts"][1]["macs"] > data["cuts"][0]["macs"] == 4 * 64 * 27


def test_the_emulated_network_is_measured_and_its_delay_is_in_it(profiled):
    _, _, data = profiled
    slow = [told for cut in data["cuts"] for told in cut["networks"]["200mbit/2ms"].values()]
    assert all(told["end_to_end_ns"]["p50"] > 4e6 for told in slow)
    measured = [told for told in slow if told["source"] == "measured"]
    assert 3 <= len(measured) <= 4
    assert all(told["end_to_end_ns"]["n"] for told in measured)
    assert data["cost_model"]["median_error"] < 1
    assert len(data["cost_model"]["points"]) == len(measured)
    assert data["networks"]["200mbit/2ms"]["emulation"] == APPLICATION_LEVEL


def test_the_recommendation_is_the_smallest_figure_that_is_shown(profiled):
    _, said, data = profiled
    for told in data["recommendations"]:
        shown = {
            (cut["cut"], codec): one["end_to_end_ns"]["p50"]
            for cut in data["cuts"]
            for codec, one in cut["networks"][told["network"]].items()
        }
        assert told["best"]["latency_ns"] == pytest.approx(min(shown.values()), abs=1)
        assert shown[told["best"]["cut"], told["best"]["codec"]] == min(shown.values())
        assert f"{told['network']}: {told['best']['cut']} with {told['best']['codec']}, " in said
        assert told["best"]["cut"] in ("r1", "flat")
        assert told["device_alone_ns"] > 0
        assert told["network"] in said
    assert data["bandwidth"]["best"][0]["from_bps"] == 0
    assert data["bandwidth"]["best"][-1]["to_bps"] is None
    assert data["verdict"] in said


def test_the_files_hold_the_same_figures(profiled):
    out, said, data = profiled
    rows = list(csv.DictReader((out / "profile.csv").read_text().splitlines()))
    assert len(rows) == 2 * 2 * 2
    for row in rows:
        told = next(c for c in data["cuts"] if c["cut"] == row["cut"])["networks"][row["network"]][row["codec"]]
        assert int(row["end_to_end_ns"]) == told["end_to_end_ns"]["p50"]
        assert int(row["tail_ns"]) == round(told["stages_ns"]["tail"])
    assert table.text(data) in said


def test_the_kernel_shapes_where_it_may_and_the_record_says_so(model, tmp_path):
    words = ["profile", model, *QUICK, "--cuts", "flat", "--network", "200mbit/1ms", "--tc", "--out", tmp_path / "out"]
    done = cutlayer(*words)
    if "makes no network namespaces" in done.stderr:
        assert done.returncode == 2
        assert not (tmp_path / "out").exists()
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    data = json.loads((tmp_path / "out" / "profile.json").read_text())
    label = data["networks"]["200mbit/1ms"]["emulation"]
    assert label.startswith(("tc netem in network namespaces", "tc tbf in network namespaces"))
    assert data["settings"]["network_emulation"] == label
    assert f"({label})" in done.stdout
    assert data["cuts"][0]["networks"]["200mbit/1ms"]["raw"]["end_to_end_ns"]["p50"] > 2e6


def test_no_namespaces_are_one_sentence_before_anything_is_measured(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    words = ["cutlayer", "profile", model, "--network", "wifi", "--tc", "--out", tmp_path / "out"]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert not (tmp_path / "out").exists()
    assert "makes no network namespaces (there is no unshare)" in capsys.readouterr().err


def test_the_page_is_well_formed_and_needs_nothing_else(profiled):
    out, _, data = profiled
    text = (out / "profile.html").read_text()
    opened, seen = [], set()

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            seen.add(tag)
            if tag != "meta":
                opened.append(tag)

        def handle_endtag(self, tag):
            assert opened.pop() == tag

    Parser().feed(text)
    assert not opened
    assert {"svg", "table", "polyline", "circle"} <= seen
    assert seen.isdisjoint({"script", "link", "img"})
    assert all(f"s-{stage}" in text for stage in STAGES)
    assert data["cuts"][0]["cut"] in text


def test_the_split_folders_can_be_deployed(profiled):
    out, _, _ = profiled
    for folder in (out / "cuts").iterdir():
        Manifest.load(folder).verify(folder, "head.onnx", "tail.onnx")


def test_a_real_server_is_measured_and_the_other_cuts_computed(profiled, model, tmp_path):
    out, _, _ = profiled
    (folder,) = [one for one in (out / "cuts").iterdir() if Manifest.load(one).cut == "flat"]
    with processes.cloud(folder, "--listen", "grpc://127.0.0.1:0", "--threads", 1) as address:
        done = cutlayer(
            "profile", model, *QUICK, "--cuts", "r1,flat", "--connect", address, "--out", tmp_path / "again"
        )
        bare = tmp_path / "bare"
        bare.mkdir()
        for name in ("split.json", "head.onnx"):
            (bare / name).write_bytes((folder / name).read_bytes())
        alone = cutlayer("profile", bare, *QUICK, "--connect", address, "--out", tmp_path / "alone")
        other = write_split(tmp_path / "other")
        refused = cutlayer("profile", tmp_path / "other", *QUICK, "--connect", address, "--out", tmp_path / "x")
    assert done.returncode == 0, done.stderr
    data = json.loads((tmp_path / "again" / "profile.json").read_text())
    sources = {cut["cut"]: cut["networks"][address]["raw"]["source"] for cut in data["cuts"]}
    assert sources == {"r1": "model", "flat": "measured"}
    assert data["settings"]["server"] == address
    assert alone.returncode == 0, alone.stderr
    assert json.loads((tmp_path / "alone" / "profile.json").read_text())["local_ns"] is None
    assert refused.returncode == 2
    assert "holds none of the 1 cuts" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1, other


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("resnet99",), "no model named 'resnet99'"),
        (("MODEL", "--cuts", "nowhere"), "cannot be cut at 'nowhere'"),
        (("MODEL", "--cuts", "c2"), "cannot be cut at 'c2'"),
        (("MODEL", "--network", "-5mbit/1ms"), "carries nothing"),
        (("MODEL", "--network", "wifi,wifi"), "twice"),
        (("MODEL", "--codecs", "raw,nope"), "nope"),
        (("MODEL", "--samples", "0"), "--samples must be above 0"),
        (("MODEL", "--max-latency", "soon"), "write 50ms"),
        (("MODEL", "--max-leakage", "0.3"), "add --privacy"),
        (("MODEL", "--privacy"), "--data"),
        (("MODEL", "--privacy", "--data", "digits", "--max-leakage", "1.5"), "a part of 1"),
        (("MODEL", "--min-accuracy", "90", "--data", "digits"), "a part of 1"),
        (("MODEL", "--epochs", "3", "--data", "digits"), "comes with its weights"),
        (("MODEL", "--data", "digits"), "take data of that shape"),
        (("MODEL", "--seed", "-1"), "--seed must be 0 or more"),
        (("MODEL", "--network", ""), "no network named ''"),
        (("MODEL", "--quota", "0"), "A CPU quota of 0"),
        (("MODEL", "--cores", "4095"), "The cores 4095 are not all there"),
        (("MODEL", "--connect", "grpc://127.0.0.1:1", "--tc"), "leave out --tc"),
        (("MODEL", "--input", "3x9"), "CxHxW"),
        (("MODEL", "--connect", "grpc://127.0.0.1:1", "--network", "wifi"), "leave out --network"),
        (("MODEL", "--head", "torch"), "torch"),
        (("GARBAGE",), "cannot be read as an ONNX model"),
        (("MODEL", "--out", "FILE"), "cannot be written"),
    ],
)
def test_what_cannot_be_profiled_is_one_sentence(words, said, model, tmp_path, monkeypatch, capsys):
    (tmp_path / "garbage.onnx").write_bytes(b"\x08\x08nothing")
    (tmp_path / "file").touch()
    places = {"MODEL": model, "GARBAGE": tmp_path / "garbage.onnx", "FILE": tmp_path / "file"}
    words = [places.get(word, word) for word in words]
    if "--out" not in words:
        words += ["--out", tmp_path / "out"]
    monkeypatch.setattr(sys, "argv", ["cutlayer", "profile", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert not (tmp_path / "out").exists()
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("cutlayer: ")
    assert said in last


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
        "runpy.run_module('cutlayer.profile.device', run_name='__main__')\n"
        "assert not [n for n, m in sys.modules.items() if n.startswith(('torch', 'onnx.')) and m]\n"
    )
    tasks = [
        {"do": "head", "samples": 5, "seconds": 1, "least": 5},
        {"do": "codec", "codec": "fp16", "samples": 5, "seconds": 1, "least": 5},
        {"do": "codec", "codec": "nope", "samples": 5, "seconds": 1, "least": 5},
    ]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, tmp_path / "split", tmp_path / "images.npy"],
        input="".join(json.dumps(task) + "\n" for task in tasks), capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    opened, head, codec, refused = map(json.loads, done.stdout.splitlines())
    assert opened["open_ns"] > 0
    assert len(head["ns"]) >= 5
    assert set(codec["bytes"]) == {144}
    assert refused["kind"] == "ConfigError"
