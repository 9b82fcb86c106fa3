import re

import numpy as np
import pytest

from cutlayer.report.kit.svg import stage_bar
from cutlayer.report.runs.charts import typical_request
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
