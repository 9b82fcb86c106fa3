from pathlib import Path

import numpy as np
import pytest

from cutlayer.profile.measure import CutMeasurements, CutRound
from cutlayer.profile.plan import LEAST
from cutlayer.profile.prepare import Candidate
from cutlayer.profile.rounds import Round, Rounds
from cutlayer.profile.timing import Timing
from cutlayer.profile.verdict import faults
from cutlayer.records.profile import ColdStart
from cutlayer.trace import STAGES


def head(ns):
    return Timing(tuple(ns), sum(ns), sum(ns), 0, 0.0, 0, None, (), None, None, None)


def measured(head, disturbances=("",), **stages):
    columns = {f"{stage}_ns": np.full(30, stages.get(stage, 1000)) for stage in STAGES}
    columns["end_to_end_ns"] = sum(columns.values()) + stages.get("lost", 0)
    taken = Round(CutRound(head, {}, {"raw": columns}), head, 0.0)
    rounds = Rounds((taken,) * len(disturbances), disturbances, len(disturbances))
    return CutMeasurements(Candidate("relu", Path(), (1,), 4, None, None), ColdStart(0, 0, 0), rounds)


def faults_of(cut, errors=()):
    return faults([cut], {"relu": cut.rounds}, errors)


STEADY = head([1000] * LEAST)


def test_a_steady_profile_is_valid():
    assert faults_of(measured(STEADY, unattributed=0), [0.01, -0.02, 0.9]) == []


@pytest.mark.parametrize(
    ("cut", "sentence"),
    [
        (measured(head([1000] * (LEAST - 1)), unattributed=0), "too few samples, 89"),
        (measured(head([1000] * 60 + [1200] * 30), unattributed=0), "drifting, the head's median changed by 20%"),
        (measured(STEADY, unattributed=0, lost=5), "do not add up"),
        (measured(STEADY, unattributed=9000), "belongs to no stage"),
        (measured(STEADY, unattributed=0, network=-7), "more time than the round trip took"),
    ],
)
def test_each_fault_is_named_with_its_cut(cut, sentence):
    (fault,) = faults_of(cut)
    assert fault.startswith("relu: ")
    assert sentence in fault


def test_a_profile_whose_rounds_were_disturbed_is_not_valid_unless_enough_are_left():
    two, three = (measured(STEADY, ("hot",) * n + ("",) * (5 - n), unattributed=0) for n in (2, 3))
    assert faults_of(two) == []
    (fault,) = faults([two, three], {"pool": two.rounds, "relu": three.rounds, "fc": three.rounds}, [])
    assert fault.startswith("Too few rounds of relu, and of 1 other measurement, were undisturbed: 3 of 5 were hot.")


def test_a_model_that_is_far_off_is_named():
    (fault,) = faults_of(measured(STEADY, unattributed=0), [0.5, -0.4, 0.3])
    assert "off by 40%" in fault
