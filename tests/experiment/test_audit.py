"""The audit of a split folder: what it prints, and that it finds what is there."""

import numpy as np
import pytest

from cutlayer import cli
from cutlayer.errors import ConfigError, DataError
from tests.tiny_split import write_split

QUICK = ["--count", "30", "--auxiliary", "60"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images of 3x3 blocks, each written twice as large."""
    path = tmp_path_factory.mktemp("data") / "images.npz"
    coarse = np.random.default_rng(0).random((320, 3, 3), np.float32)
    np.savez(path, x=coarse.repeat(2, 1).repeat(2, 2), y=np.arange(320) % 3)
    return path


def audited(folder, data, capsys, *words):
    cli.app().cli(args=["audit", str(folder), "--data", str(data), *QUICK, *words])
    return capsys.readouterr().out


def row(printed, label):
    return next(line.split() for line in printed.splitlines() if line.startswith(label))


def test_without_noise_everybody_is_on_the_watch_list_and_there_is_no_ceiling(tmp_path, data, capsys):
    write_split(tmp_path)
    printed = audited(tmp_path, data, capsys)
    assert "No ceiling: deterministic." in printed
    assert row(printed, "mean-image")[3:5] == ["0.0", "%"]
    assert row(printed, "watch-list")[2:6] == ["1", "-", "100.0", "%"]
    assert float(row(printed, "ridge")[3]) > 90
    assert max(map(len, printed.splitlines())) <= 120


def test_noise_has_a_ceiling_above_what_was_found(tmp_path, data, capsys):
    write_split(tmp_path, defense={"name": "gaussian-noise", "sigma": 2.0})
    printed = audited(tmp_path, data, capsys, "--codec", "int8")
    assert "gaussian-noise sigma=2.0" in printed
    assert "averaging" in printed
    first, _, leakage = row(printed, "identified / leakage gain")[4:7]
    assert float(row(printed, "ridge")[3]) <= float(leakage) + 5
    assert float(row(printed, "watch-list")[4]) <= float(first) + 15
    assert "above-the-ceiling" not in printed
    assert "one of" in printed
    assert "candidates which the attacker holds" in " ".join(printed.split())


def test_what_cannot_work_is_said(tmp_path, data):
    write_split(tmp_path)
    with pytest.raises(ConfigError, match="names no data set; name one with --data"):
        cli.app().cli(args=["audit", str(tmp_path)])
    with pytest.raises((ConfigError, DataError), match="digits"):
        cli.app().cli(args=["audit", str(tmp_path), "--data", "digits"])
