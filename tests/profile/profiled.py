"""A profile that the command wrote, of a model of a few operators: written once, read by many tests."""

import subprocess
import sys

import pytest

from cutlayer.records.profile_files import read
from tests.onnx.onnx_models import chain

QUICK = ("--samples", "90", "--seconds", "0.1", "--codecs", "raw,int8")


def cutlayer(*words):
    command = [sys.executable, "-m", "cutlayer.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return chain(tmp_path_factory.mktemp("model") / "chain.onnx")


@pytest.fixture(scope="session")
def profiled(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("profile")
    done = cutlayer("profile", model, *QUICK, "--cuts", "r1,flat", "--network", "loopback,200mbit/2ms", "--out", out)
    assert done.returncode == 0, done.stderr
    return out, done.stdout, read(out)
