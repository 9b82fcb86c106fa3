from pathlib import Path

import numpy as np
import pytest

from cutlayer.profile.candidate import Candidate
from cutlayer.profile.plan import LEAST
from cutlayer.profile.sweep import Observed
from cutlayer.profile.verdict import reasons
from cutlayer.trace import STAGES


def head(ns, cpu_share=1.0, quota=None, held_back=(), waited=0.0, others=0.0):
    wall_ns = int(sum(ns))
    return {
        "ns": ns, "wall_ns": wall_ns, "cpu_ns": cpu_share * wall_ns, "waited_ns": waited * wall_ns, "others": others,
        "quota": quota, "held_back": list(held_back),
    }  # fmt: skip


def observed(head, **stages):
    timed = {f"{stage}_ns": np.full(30, stages.get(stage, 1000)) for stage in STAGES}
    timed["end_to_end_ns"] = sum(timed.values()) + stages.get("lost", 0)
    return Observed(Candidate("relu", Path(), (1,), 4, None, None), {}, head, {}, {"raw": timed})


STEADY = head([1000] * LEAST)


def test_a_steady_profile_is_valid():
    assert reasons([observed(STEADY, unattributed=0)], [0.01, -0.02, 0.9]) == []


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (observed(head([1000] * (LEAST - 1)), unattributed=0), "too few samples, 89"),
        (observed(head([1000] * 60 + [1200] * 30), unattributed=0), "drifting, the head's median changed by 20%"),
        (observed(head([1000] * LEAST, cpu_share=0.5), unattributed=0), "not alone, the head got 50% of a core"),
        (observed(head([1000] * LEAST, 1.5, waited=0.2), unattributed=0), "the head waited for a core 20% of the time"),
        (observed(head([1000] * LEAST, others=0.5), unattributed=0), "other work took 50% of all cores"),
        (observed(head([1000] * LEAST, held_back=["hot"]), unattributed=0), "throttled, hot"),
        (observed(STEADY, unattributed=0, lost=5), "do not add up"),
        (observed(STEADY, unattributed=9000), "belongs to no stage"),
        (observed(STEADY, unattributed=0, network=-7), "more time than the round trip took"),
    ],
)
def test_each_fault_is_named_with_its_cut(one, said):
    (reason,) = reasons([one], [])
    assert reason.startswith("relu: ")
    assert said in reason


def test_a_quota_is_no_fault():
    quota = {"cpus": 0.25}
    assert reasons([observed(head([1000] * LEAST, 0.25, quota, waited=0.7), unattributed=0)], []) == []


def test_a_model_that_is_far_off_is_named():
    (reason,) = reasons([observed(STEADY, unattributed=0)], [0.5, -0.4, 0.3])
    assert "off by 40%" in reason
