from pathlib import Path

import numpy as np
import pytest

from cutlayer.profile.measure import CutMeasurements, Timing
from cutlayer.profile.plan import LEAST
from cutlayer.profile.prepare import Candidate
from cutlayer.profile.verdict import faults
from cutlayer.records.profile import ColdStart, QuotaRecord
from cutlayer.trace import STAGES


def head(ns, cpu_share=1.0, quota=None, held_back=(), waited=0.0, others=0.0):
    wall_ns = sum(ns)
    cpu_ns, waited_ns = round(cpu_share * wall_ns), round(waited * wall_ns)
    return Timing(tuple(ns), wall_ns, cpu_ns, waited_ns, others, 0, None, tuple(held_back), quota, None, None)


def measured(head, **stages):
    columns = {f"{stage}_ns": np.full(30, stages.get(stage, 1000)) for stage in STAGES}
    columns["end_to_end_ns"] = sum(columns.values()) + stages.get("lost", 0)
    candidate = Candidate("relu", Path(), (1,), 4, None, None)
    return CutMeasurements(candidate, ColdStart(0, 0, 0), head, {}, {"raw": columns})


STEADY = head([1000] * LEAST)


def test_a_steady_profile_is_valid():
    assert faults([measured(STEADY, unattributed=0)], [0.01, -0.02, 0.9]) == []


@pytest.mark.parametrize(
    ("cut", "sentence"),
    [
        (measured(head([1000] * (LEAST - 1)), unattributed=0), "too few samples, 89"),
        (measured(head([1000] * 60 + [1200] * 30), unattributed=0), "drifting, the head's median changed by 20%"),
        (measured(head([1000] * LEAST, cpu_share=0.5), unattributed=0), "not alone, the head got 50% of a core"),
        (measured(head([1000] * LEAST, 1.5, waited=0.2), unattributed=0), "the head waited for a core 20% of the time"),
        (measured(head([1000] * LEAST, others=0.5), unattributed=0), "other work took 50% of all cores"),
        (measured(head([1000] * LEAST, held_back=["hot"]), unattributed=0), "throttled, hot"),
        (measured(STEADY, unattributed=0, lost=5), "do not add up"),
        (measured(STEADY, unattributed=9000), "belongs to no stage"),
        (measured(STEADY, unattributed=0, network=-7), "more time than the round trip took"),
    ],
)
def test_each_fault_is_named_with_its_cut(cut, sentence):
    (fault,) = faults([cut], [])
    assert fault.startswith("relu: ")
    assert sentence in fault


def test_a_quota_is_no_fault():
    quota = QuotaRecord(0.25, "cpu.max", 9, 3, 5)
    assert faults([measured(head([1000] * LEAST, 0.25, quota, waited=0.7), unattributed=0)], []) == []


def test_a_model_that_is_far_off_is_named():
    (fault,) = faults([measured(STEADY, unattributed=0)], [0.5, -0.4, 0.3])
    assert "off by 40%" in fault
