import re
from itertools import pairwise

import numpy as np
import pytest

from cutlayer.records.reading import read
from cutlayer.report.kit.svg import stage_bar
from cutlayer.report.runs.anatomy import WIDTHS, anatomy, typical_request
from cutlayer.report.runs.groups import group
from cutlayer.trace import STAGES


def test_the_widths_of_a_bar_are_the_shares_of_its_stages():
    stages = {stage: float(i) for i, stage in enumerate(STAGES)}
    longest = 2 * sum(stages.values())
    widths = [float(w) for w in re.findall(r'width="([\d.]+)"', stage_bar(stages, longest, "zmq"))]
    assert widths == pytest.approx([v / longest * 1000 for v in stages.values()], abs=0.01)


def test_the_stages_of_a_typical_request_add_up_to_about_the_median():
    rng = np.random.default_rng(0)
    columns = {f"zmq/{stage}_ns": rng.integers(1_000, 2_000_000, 301) for stage in STAGES}
    total = sum(columns.values(), np.zeros(301, np.int64))
    total[7] += 10**9
    columns["zmq/tail_ns"][7] += 10**9
    typical = typical_request({**columns, "zmq/end_to_end_ns": total}, "zmq")
    assert sum(typical.values()) == pytest.approx(np.median(total), rel=0.02)


def test_a_deployment_without_samples_has_no_bar():
    empty = {f"zmq/{name}_ns": np.zeros(0, np.int64) for name in (*STAGES, "end_to_end")}
    assert typical_request({}, "zmq") is typical_request(empty, "zmq") is None


def test_every_setting_of_every_deployment_has_a_bar_that_shows_each_stage_and_what_none_claims(runs):
    (found,) = group(read(runs)[0])
    page = anatomy(found)
    for screen, width in WIDTHS.items():
        drawing = re.search(rf'<svg [^>]*class="chart {screen}".*?</svg>', page, re.S)[0]
        bars = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="18" class="s-([a-z]+)">', drawing)
        rows = {y: [(float(x), float(w), stage) for x, row, w, stage in bars if row == y] for _, y, *_ in bars}
        assert len(rows) == 6, "three settings over two deployments"
        for parts in rows.values():
            assert [stage for *_, stage in parts if stage != "protect"] == [s for s in STAGES if s != "protect"]
            for (x, w, _), (after, *_) in pairwise(parts):
                assert after == pytest.approx(x + w, abs=0.3), "the stages are stacked"
        assert max(x + w for parts in rows.values() for x, w, _ in parts) == pytest.approx(width, abs=0.5)
    assert "No stage claims" in page
    assert page.count("<tr>") > 6, "the figure as a table"


def test_a_group_without_raw_samples_says_so(runs):
    for folder in runs.iterdir():
        (folder / "requests.npz").unlink()
    (found,) = group(read(runs)[0])
    assert "No raw samples of these runs could be read." in anatomy(found)
