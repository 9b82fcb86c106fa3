"""The table of the probes, in the terminal and on the page, from records alone."""

from dataclasses import replace

from cutlayer.records.reading import read
from cutlayer.records.run import Estimate, ProbeRecord
from cutlayer.report.runs.page import page
from cutlayer.report.runs.probes import TITLE, over
from cutlayer.report.runs.terminal import text
from tests.report.conftest import read_results


def record(target, low, **more):
    auc, baseline = Estimate(0.9, 200, 0.85, 0.94), Estimate(0.7, 200, 0.6, 0.8)
    return ProbeRecord(
        target=target, how="linear", n_releases=1, auc=auc, baseline=baseline, positive=0.5,
        over_baseline=Estimate(0.2, 200, low, 0.3), **more,
    )  # fmt: skip


def test_what_is_not_told_apart_is_in_brackets():
    assert over(record("class", 0.1)) == "+0.200"
    assert over(record("class", -0.1)) == "(+0.200)"


def test_terminal_and_page_show_each_probe_of_each_run(runs):
    found = (
        record(
            "class", 0.1, accuracy=Estimate(0.93, 200, 0.9, 0.95), baseline_accuracy=Estimate(0.91, 200, 0.88, 0.94)
        ),
        record("attribute", -0.1, attribute="<smile>", found_at_1_percent=Estimate(0.4, 200, 0.3, 0.5)),
        replace(record("identity", 0.1, pairs=19_900), n_releases=4),
    )
    printed = text([replace(result, probes=found) for result in read_results(runs)])
    assert max(map(len, printed.splitlines())) <= 120
    for words in ("class, linear", "<smile>, linear", "(+0.200)", "identity, linear x4", "93.0 %", "91.0 %", "40.0 %"):
        assert words in printed, words
    finished, skipped = read(runs)
    html = page([replace(run, result=replace(run.result, probes=found)) for run in finished], skipped)
    for words in (TITLE, "&lt;smile&gt;, linear", "200, 19,900 pairs", "0.850 to 0.940", "30.0 to 50.0"):
        assert words in html, words
    assert TITLE not in page(finished, skipped)
    assert "PROBE" not in text(read_results(runs))
