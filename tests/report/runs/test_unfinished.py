"""Trials without a result: failed ones with their error, stopped ones with their reason, and what they were."""

import re

import pytest

from cutlayer.machine.lock import only_one
from cutlayer.records.failed import write_failure
from cutlayer.report.runs.page import write

PLAN = """
data = "photos"
model = {name = "lenet"}
cut = "pool1"
seed = 3
[[defense]]
name = "gaussian-noise"
sigma = 4.0
"""


@pytest.fixture
def page(runs):
    for name in ("dddddddddddd", "eeeeeeeeeeee"):
        (runs / name).mkdir()
        (runs / name / "experiment.toml").write_text(PLAN)
    write_failure(runs / "dddddddddddd", "RuntimeError: <b>out of memory</b>", "Traceback:\n  File x, line 3\n")
    return write(runs).read_text(encoding="utf-8")


def test_the_top_of_the_page_counts_what_is_missing(page):
    assert page.index("Trials that are not on this page") < page.index("A camera runs the first layers")
    assert '<a href="#unfinished">1 failed and 1 has no result yet, or none that can be read</a>' in page


def test_a_failed_trial_says_what_it_was_and_how_it_failed(page):
    part = page[page.index('id="unfinished"') :]
    assert "photos, lenet cut at pool1, gaussian-noise sigma=4.0, seed 3" in part
    assert "<b>It failed: </b>RuntimeError: &lt;b&gt;out of memory&lt;/b&gt;" in part
    assert "File x, line 3" in part
    assert part.index("dddddddddddd") < part.index("eeeeeeeeeeee"), "failed ones first"
    assert "It is unfinished: it has no result.json." in part


def test_a_trial_that_is_running_is_no_alarm(runs):
    folder = runs / "eeeeeeeeeeee"
    folder.mkdir()
    (folder / "experiment.toml").write_text(PLAN)
    with only_one(folder):
        page = write(runs).read_text(encoding="utf-8")
    assert 'Trials that are not on this page: <a href="#unfinished">1 is running</a>.' in page
    assert '<p class="missing">' not in page
    assert re.search(r"It is running: process \d+ on \S+ since \S+ \S+ is at work\.", page)
    assert '<p class="missing">' in write(runs).read_text(encoding="utf-8"), "it was stopped"


def test_a_trial_that_succeeded_later_is_not_missing(runs):
    write_failure(runs / "aaaaaaaaaaaa", "RuntimeError: at first")
    assert "at first" not in write(runs).read_text(encoding="utf-8")


def test_a_failure_that_cannot_be_read_is_named(runs):
    (runs / "dddddddddddd").mkdir()
    (runs / "dddddddddddd" / "failed.json").write_text("{")
    assert "failed.json cannot be read" in write(runs).read_text(encoding="utf-8")
