"""The benchmarks of the matching loop, which are made for a GPU and for another package, run to their end without."""

import re
import sys

import pytest

from benchmarks import full_gradients, gradient_oracle


def test_every_part_runs_to_its_end(capsys):
    full_gradients.main(tiny=True)
    printed = capsys.readouterr().out
    assert "failed" not in printed
    for part in full_gradients.PARTS:
        assert re.search(rf"^{part}, seed 0: n=[12] in .* dB", printed, re.MULTILINE), printed
    assert re.search(r"^speed: .* images/s of 4,800 steps", printed, re.MULTILINE)


def test_a_part_that_fails_is_named_and_the_others_go_on(capsys, monkeypatch):
    def fail(*_):
        raise RuntimeError("the card is gone")

    monkeypatch.setattr(full_gradients, "PARTS", {"idlg": full_gradients.PARTS["idlg"]})
    monkeypatch.setattr(full_gradients, "speed", lambda *_: print("speed"))
    monkeypatch.setattr(full_gradients, "run", fail)
    monkeypatch.setitem(full_gradients.PARTS, "inverting-gradients", full_gradients.PARTS["idlg"])
    with pytest.raises(SystemExit, match="1"):
        full_gradients.main(tiny=True)
    printed = capsys.readouterr().out
    assert "speed" in printed
    assert "idlg, seed 0 failed" in printed
    assert "the card is gone" in printed


def test_without_the_package_the_comparison_says_so(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "breaching", None)
    gradient_oracle.main()
    assert "breaching is not installed" in capsys.readouterr().out
