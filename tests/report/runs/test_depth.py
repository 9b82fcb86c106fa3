"""A page stays small whatever the number of runs: fewer and smaller pictures first, then no single numbers."""

import json
import os
from dataclasses import fields
from itertools import pairwise

import pytest

from cutlayer.records.reading import read
from cutlayer.report.kit.kinds import PICTURE
from cutlayer.report.runs import page
from cutlayer.report.runs.depth import DEPTHS, FULL, MOST_BYTES, affordable, left_out
from cutlayer.report.runs.groups import group
from tests.report.conftest import result, write_run


def test_a_few_runs_are_shown_in_full(runs):
    assert affordable(group(read(runs)[0]))[0] == FULL
    assert "These are many runs" not in page.write(runs).read_text(encoding="utf-8")


def test_depths_fall():
    for more, less in pairwise(DEPTHS):
        for field in fields(less):
            assert getattr(less, field.name) <= getattr(more, field.name)
        assert left_out(less, PICTURE)


def test_a_page_that_is_too_large_shows_less_and_says_so(runs, monkeypatch):
    whole = page.write(runs).stat().st_size
    monkeypatch.setattr(page, "MOST_BYTES", whole // 2)
    text = page.write(runs).read_text(encoding="utf-8")
    assert len(text.encode()) <= whole // 2
    assert text.index("These are many runs") < text.index("A camera runs the first layers")
    assert text.count("<img") > 0


@pytest.mark.slow
def test_two_hundred_runs_make_a_page_below_ten_megabytes(tmp_path):
    first = None
    for i in range(200):
        sigma = 0.05 * (i // 2)
        record = result(f"{i:012x}", sigma) | {"seed": i % 2}
        if first is None:
            write_run(tmp_path, record)
            first = tmp_path / record["id"]
            continue
        folder = tmp_path / record["id"]
        folder.mkdir()
        (folder / "result.json").write_text(json.dumps(record))
        for name in ("env.json", "reconstructions.npz", "requests.npz"):
            os.link(first / name, folder / name)
    path = page.write(tmp_path)
    assert path.stat().st_size <= MOST_BYTES
    text = path.read_text(encoding="utf-8")
    assert text.count('class="mark ') == 4 * 100
    assert text.count("<img") > 200
