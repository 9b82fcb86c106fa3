import re
from itertools import combinations

import numpy as np
import pytest

from cutlayer.records.run import Estimate
from cutlayer.report.kit.svg import LETTER, stage_bar
from cutlayer.report.runs.charts import FRAMES, Point, scatter, typical_request
from cutlayer.trace import STAGES


def point(label, gain, accuracy, undefended=False):
    leakage = Estimate(gain, 64, gain - 0.02, gain + 0.02)
    return Point(label, "c1", leakage, Estimate(accuracy, 500, accuracy - 0.03, accuracy + 0.03), undefended)


BASELINE = Estimate(0.8, 500, 0.77, 0.83)


def test_more_leakage_is_further_right_and_more_accuracy_further_up():
    svg, _ = scatter([point("a", 0.2, 0.6), point("b", 0.7, 0.75)], BASELINE)
    (ax, ay), (bx, by) = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', svg)]
    assert ax < bx
    assert ay > by


def test_both_intervals_the_undefended_and_the_mean_image_are_drawn():
    svg, _ = scatter([point("none", 0.9, 0.8, undefended=True), point("noise", 0.4, 0.7)], BASELINE)
    assert svg.count('class="interval"') == 4
    assert svg.count("<path") == 1
    assert "mean image" in svg
    assert "undefended accuracy" in svg
    assert "none: leakage gain 90.0%, accuracy 80.0%; noise: leakage gain 40.0%, accuracy 70.0%" in svg


@pytest.mark.parametrize("gains", [(-0.5, 0.1), (0.0, 1.0), (0.3, 0.3), (float("nan"), 0.5)])
def test_every_point_stays_in_the_frame(gains):
    svgs = scatter([point(str(i), gain, 0.5) for i, gain in enumerate(gains)], BASELINE)
    for svg, frame in zip(svgs, FRAMES.values(), strict=True):
        places = [float(x) for x in re.findall(r'<circle cx="([-\d.]+)"', svg)]
        assert places
        assert all(frame.left <= x <= frame.right for x in places)


def test_labels_of_points_close_together_do_not_overlap():
    for n in (4, 7):
        drawings = scatter([point(f"gaussian-noise {i}", 0.5 + i / 100, 0.7) for i in range(n)], BASELINE)
        for svg, frame in zip(drawings, FRAMES.values(), strict=True):
            found = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)" class="name">([^<]+)', svg)
            width = [LETTER * len(name) for *_, name in found]
            left = [float(x) - w * (anchor == "end") for (x, _, anchor, _), w in zip(found, width, strict=True)]
            boxes = [(x, float(y), x + w) for x, (_, y, _, _), w in zip(left, found, width, strict=True)]
            assert len(boxes) == n
            assert all(frame.left <= x and right <= frame.right and y >= frame.top - 8 for x, y, right in boxes)
            for (a, ya, b), (c, yc, d) in combinations(boxes, 2):
                assert b <= c or d <= a or abs(ya - yc) >= 14
            assert n == 4 or 'class="leader"' in svg, "a label that is far from its point has a line to it"


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
