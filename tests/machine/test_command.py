"""The command in the records: the words that were typed, also in processes that a command has started."""

import subprocess
import sys
from pathlib import Path

import pytest

from cutlayer.machine.command import VARIABLE, command, command_line, commanded
from cutlayer.machine.identity import environment

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def nobody_has_commanded(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def test_the_words_stand_in_the_environment_of_a_run_and_are_gone_afterwards():
    words = ["cutlayer", "run", "my plan.toml", "--set", "defense.sigma=0.5"]
    with commanded(words):
        env = environment(edge=1, cloud=1)
    assert env["command"] == words
    assert command_line(env) == "cutlayer run 'my plan.toml' --set defense.sigma=0.5"
    assert environment(edge=1, cloud=1)["command"] is None
    assert command_line({}) == command_line({"command": None}) == ""


def test_a_process_below_names_the_command_above():
    ask = "from cutlayer.machine.command import *\nwith commanded(['cutlayer', 'cloud']):\n    print(command())"
    with commanded(["cutlayer", "train", "plan.toml"]):
        done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "['cutlayer', 'train', 'plan.toml']"


def test_paths_of_this_machine_become_relative_where_that_is_shorter(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    given = [f"{tmp_path}/here/plan.toml", f"--out={tmp_path}/here", f"{tmp_path}/data", "/elsewhere/plan.toml", "a=b"]
    with commanded(given):
        assert command() == ["plan.toml", "--out=.", "../data", "/elsewhere/plan.toml", "a=b"]


@pytest.mark.parametrize("damaged", ["{", "[]", "[1]", '"cutlayer"'])
def test_what_is_no_list_of_words_is_no_command(damaged, monkeypatch):
    monkeypatch.setenv(VARIABLE, damaged)
    assert command() is None
