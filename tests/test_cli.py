"""What a user types, and what comes back when it is wrong: one sentence, exit code 2, nothing half-written."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tyro.conf import OmitArgPrefixes

from cutlayer import cli, registry
from cutlayer.errors import ConfigError
from cutlayer.wire.security import Security
from cutlayer.wire.transport import Timeouts
from tests.command import cutlayer
from tests.tiny_split import write_split


@pytest.mark.parametrize(
    "kind",
    [
        "attacks",
        "label-attacks",
        "update-attacks",
        "class-attacks",
        "defenses",
        "gradient-defenses",
        "update-defenses",
        "answer-defenses",
        "detectors",
        "models",
        "datasets",
        "metrics",
        "codecs",
        "transports",
        "engines",
    ],
)
def test_list_names_everything_registered(kind):
    done = cutlayer("list", kind)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(
        getattr(registry, kind.upper().replace("-", "_"))
    )


def test_cuts_prints_a_line_for_each_cut():
    done = cutlayer("cuts", "he_lenet")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines()[2:]}
    assert lines["conv1"][1] == "8x24x24"
    assert lines["ReLU2"][1] == "16x8x8"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["cuts", "resnet81"], "resnet18"),
        (["cuts", "resnet18", "--input", "3x32"], "CxHxW"),
        (["split", "resnet20", "--cut", "layer9", "--data", "digits", "--out", "{out}"], "layer3"),
        (["split", "resnet20", "--cut", "layer1.0", "--data", "digtis", "--out", "{out}"], "digits"),
        (["split", "he_lenet", "--cut", "conv1", "--data", "mnist", "--data-root", "{out}", "--out", "{out}"], "MNIST"),
        (["cloud", "{out}"], "split.json"),
        (["edge", "{out}"], "split.json"),
        (["cloud", "{out}", "--heartbeat-s", "0"], "above 0"),
        (["edge", "{out}", "--request-s", "-1"], "-1.0 was given"),
        (["run", "absent.toml"], "no experiment file"),
        (["run", "experiments/demo.toml", "--set", "defense.sigmma=1", "--out", "{out}"], "sigmma"),
        (["run", "experiments/demo.toml", "--set", "oops", "--out", "{out}"], "KEY=VALUE"),
        (["report", "{out}"], "runs"),
        (["train", "experiments/train-splitfed.toml", "--set", "samples=5000", "--out", "{out}"], "898 train"),
        (["cloud"], "--train PLAN.toml"),
        (["edge", "--train", "--client", "3/2/1"], "such as 3/10"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path, words, complaint):
    out = tmp_path / "out"
    done = cutlayer(*(word.format(out=out) for word in words))
    assert done.returncode == 2, done.stderr
    assert complaint in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not out.exists()


def test_each_side_takes_the_timeouts_that_are_its_own(tmp_path, monkeypatch):
    given = []
    for side in ("cutlayer.cloud.serve.serve", "cutlayer.edge.send.send"):
        monkeypatch.setattr(side, lambda *_, timeouts, **__: given.append(timeouts))
    cli.app().cli(args=["cloud", str(tmp_path), "--heartbeat-s", "60", "--idle-s", "5"])
    cli.app().cli(args=["edge", str(tmp_path), "--heartbeat-s", "60", "--connect-s", "1", "--request-s", "120"])
    assert given == [Timeouts(heartbeat_s=60, idle_s=5), Timeouts(connect_s=1, request_s=120, heartbeat_s=60)]


def test_edge_sends_the_images_that_the_split_was_trained_on(tmp_path, monkeypatch):
    loaded = []

    def load(name, *_, **__):
        loaded.append(name)
        raise ConfigError("enough")

    write_split(tmp_path, data="digits")
    monkeypatch.setattr("cutlayer.edge.send.open_data", load)
    for options in ([], ["--data", "faces"]):
        with pytest.raises(ConfigError, match="enough"):
            cli.app().cli(args=["edge", str(tmp_path), *options])
    assert loaded == ["digits", "faces"]


@pytest.mark.parametrize(
    ("command", "own", "other"),
    [
        (["edge", "F"], "curve-server", "allow"),
        (["cloud", "F"], "allow", "curve-server"),
        (["doctor"], "curve-server", "allow"),
        (["profile", "M"], "curve-server", "allow"),
    ],
)
def test_each_side_takes_the_security_options_that_are_its_own(command, own, other, monkeypatch):
    given = []
    for side in ("cutlayer.cloud.serve.serve", "cutlayer.edge.send.send"):
        monkeypatch.setattr(side, lambda *_, security, **__: given.append(security))
    monkeypatch.setattr("cutlayer.doctor.examine.examine", lambda _, __, security, ___: given.append(security) or [])
    monkeypatch.setattr("cutlayer.profile.run.run_plan", lambda _, settings, *__: given.append(settings.security))
    monkeypatch.setattr("cutlayer.report.profiles.terminal.text", str)
    names = ("ca", "cert", "key", "token-file", "curve-key", own)
    options = [word for name in names for word in (f"--{name}", f"{name}.file")]
    cli.app().cli(args=[*command, *options, "--insecure"], config=(OmitArgPrefixes,))
    assert given[0].files == {name.replace("-", "_"): Path(f"{name}.file") for name in names}
    assert given[0].insecure
    assert Security.from_json(given[0].to_json()).files == given[0].files
    # The --allow of a device is about wishes, and refused without a room.
    with pytest.raises((SystemExit, ConfigError)):
        cli.app().cli(args=[*command, f"--{other}", "file"], config=(OmitArgPrefixes,))


@pytest.mark.parametrize("verbosity", [{}, {"GRPC_VERBOSITY": "ERROR"}], ids=["by default", "as asked for"])
def test_grpc_itself_prints_nothing_unless_asked(tmp_path, verbosity):
    write_split(tmp_path)
    quiet = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"grpc://127.0.0.1:{taken.getsockname()[1]}"
        words = ("cloud", tmp_path, "--listen", address, "--threads", "1")
        done = subprocess.run(
            [sys.executable, "-m", "cutlayer.cli", *words],
            capture_output=True, text=True, check=False, env={**quiet, **verbosity},
        )  # fmt: skip
    assert done.returncode == 2
    *core, ours = done.stderr.splitlines()
    assert ours.startswith(f"cutlayer: Cannot listen at {address}")
    assert bool(core) == bool(verbosity)


WITHOUT_TORCH = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
sys.argv = ["cutlayer", *sys.argv[1:]]
from cutlayer.cli import main
main()
"""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["list", "attacks"], 0, "torch is not installed; install cutlayer[lab]"),
        (["list", "codecs"], 0, "int8"),
        (
            ["cuts", "vgg11_bn"],
            2,
            "cutlayer: This command cannot run here: torch is not installed; install cutlayer[lab]",
        ),
        (["run", "PLAN"], 2, "torch is not installed; install cutlayer[lab]"),
        (["report", "{out}"], 2, "There is no folder"),
    ],
)
def test_without_torch_a_command_says_what_is_missing(tmp_path, words, code, said):
    plan = str(Path(__file__).parents[1] / "experiments/demo.toml")
    words = [plan if word == "PLAN" else word.format(out=tmp_path / "none") for word in words]
    command = [sys.executable, "-c", WITHOUT_TORCH, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
