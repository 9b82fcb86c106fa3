"""The documentation is built without a warning, and has every page and every name of the Python API."""

import re
import subprocess
import sys
from pathlib import Path

import cutlayer

ROOT = Path(__file__).parents[1]


def test_the_site_is_built_without_a_warning_and_is_complete(tmp_path):
    make = re.search(r"^docs:.*\n\t.*(-m sphinx .*) docs docs/_site$", (ROOT / "Makefile").read_text(), re.M)
    assert make, "`make docs` no longer builds the site as this test does"
    command = [sys.executable, *make[1].split(), "-d", tmp_path / "trees", ROOT / "docs", tmp_path / "site"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    index = (tmp_path / "site/index.html").read_text()
    assert {page for page in pages - {"index"} if f'href="{page}.html"' not in index} == set()
    api = (tmp_path / "site/api.html").read_text()
    assert [name for name in cutlayer.__all__ if f'id="cutlayer.api.{name}"' not in api] == []
    # A device and an attack of one's own are documented where the API refers to them.
    parts = (tmp_path / "site/parts.html").read_text()
    assert all(f'id="cutlayer.{name}"' in parts for name in ("edge.client.Edge.infer", "attacks.base.Attack.invert"))
