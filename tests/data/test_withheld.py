"""Classes of which the attacker has no sample."""

import numpy as np
import pytest

from cutlayer.data.load import load
from cutlayer.data.withheld import refuse_shared, withheld
from cutlayer.errors import ConfigError


def test_the_attacker_has_no_sample_of_the_classes_that_are_withheld():
    data = withheld(load("digits"), ["7", "9"])
    assert data.n_private == 2
    assert data.classes[:2] == ("7", "9")
    for part in (data.train, data.held_out):
        assert set(part.labels) == {0, 1}
    assert set(data.auxiliary.labels) == set(range(2, 10))
    assert not data.shared
    refuse_shared(data)
    assert set(data.others.labels) == set(range(2, 10))
    held = {sample.tobytes() for sample in data.auxiliary.inputs}
    assert not any(sample.tobytes() in held for sample in data.others.inputs)


def test_without_names_the_classes_are_shared_and_that_can_be_refused():
    splits = load("digits")
    data = withheld(splits)
    assert data.n_private == 10
    assert not len(data.others)
    assert data.shared
    assert len(data.train) == len(splits.train)
    with pytest.raises(ConfigError, match=rf"hold {len(splits.auxiliary):,} of 10 classes"):
        refuse_shared(data)


def test_samples_keep_their_pictures():
    splits = load("digits")
    data = withheld(splits, ["3"])
    assert np.array_equal(data.train.inputs, splits.train.inputs[splits.train.labels == 3])
    assert data.classes[data.auxiliary.labels[0]] != "3"


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["10"], "no class named '10'"),
        (["3", "3"], "each once"),
        ([], "each once"),
        ([str(digit) for digit in range(10)], "left for the attacker"),
    ],
)
def test_names_that_make_no_sense_are_refused(names, complaint):
    with pytest.raises(ConfigError, match=complaint):
        withheld(load("digits"), names)
