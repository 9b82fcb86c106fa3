"""The programs of `examples/`, run as they are in an empty folder."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
QUICKSTART = ROOT / "examples/quickstart.py"
MOST_LINES = 12
LEAKAGE = re.compile(
    r"ridge: leakage gain (?P<value>[-\d.]+)% \(95 % interval (?P<low>[-\d.]+)% to (?P<high>[-\d.]+)%, "
)


def test_the_quick_start_is_short_and_prints_the_leakage(tmp_path):
    program = QUICKSTART.read_text()
    after_docstring = ast.parse(program).body[1].lineno - 1
    assert len([line for line in program.splitlines()[after_docstring:] if line]) <= MOST_LINES
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, QUICKSTART], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = LEAKAGE.search(done.stdout)
    assert found, done.stdout
    low, value, high = (float(found[name]) for name in ("low", "value", "high"))
    # A shallow cut without a defense leaks much, and the pooling keeps it from leaking everything.
    assert 50 < low <= value <= high < 100, done.stdout


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_the_notebook_ends_with_a_picture_of_what_was_reconstructed(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    stored = nbformat.read(ROOT / "examples/quickstart.ipynb", as_version=4)
    program = QUICKSTART.read_text()
    code = "\n".join(cell.source for cell in stored.cells)
    for start in ("data = ", "model = ", "split = "):
        (line,) = re.findall(rf"^{start}.*$", program, re.M)
        assert line in code, "the notebook goes through the quick start"
    fresh = NotebookClient(
        nbformat.from_dict(stored), timeout=240, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    for notebook in (stored, fresh):
        assert "image/png" in outputs(notebook)[-1]["data"]
    printed, gains = (
        ("".join(o.get("text", "") for o in outputs(nb) if o.get("name") == "stdout") for nb in (stored, fresh)),
        [],
    )
    for text in printed:
        found = LEAKAGE.search(text)
        assert found, text
        gains.append(float(found["value"]))
    assert gains[0] == pytest.approx(gains[1], abs=5), "the stored outputs are those of this version"
