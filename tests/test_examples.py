"""The programs of `examples/`, run as they are in an empty folder."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

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
