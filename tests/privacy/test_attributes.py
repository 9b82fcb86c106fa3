"""The figure of attribute inference: what a model adds to imputation."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cutlayer.attacks.answers.view import Reply, Service
from cutlayer.data.modality import TABLE
from cutlayer.data.splits import Dataset, Splits
from cutlayer.errors import ConfigError, WithheldError
from cutlayer.privacy.attributes import attribute_score, columns_of


def part(n, seed):
    """Rows with no and yes of an attribute, a number that hints at it, and one that does not."""
    rng = np.random.default_rng(seed)
    value = rng.integers(2, size=n)
    hint = value * 0.3 + rng.random(n) * 0.7
    inputs = np.column_stack([1 - value, value, hint, rng.random(n)]).astype(np.float32)
    attributes = np.column_stack([value, rng.integers(2, size=n)]).astype(np.int8)
    return Dataset(inputs, rng.integers(2, size=n), TABLE, None, attributes)


@pytest.fixture(scope="module")
def data():
    return Splits("table", ("no", "yes"), *(part(n, seed) for seed, n in enumerate((300, 400, 10, 10))),
                  attributes=("loan", "hidden"))  # fmt: skip


def looks(share):
    """A model whose answer leans to the attribute by so much."""

    def ask(rows):
        p = (0.5 + share * (rows[:, 1] - 0.5) + 0.1 * rows[:, 3]).clamp(0.01, 0.99)
        return torch.stack([1 - p, p], 1).log()

    return ask


def test_a_model_that_looks_at_the_attribute_tells_more_than_imputation(data):
    service = Service(looks(0.4))
    found = attribute_score(service, data, "loan", n=300)
    assert found.accuracy.value == 1
    assert 0.5 < found.majority < found.imputation.value < 0.9
    assert found.gain.low > 0
    assert found.gain.value == pytest.approx(found.accuracy.value - found.imputation.value)
    assert found.asked == service.asked == 600


def test_a_model_that_does_not_look_at_it_tells_nothing(data):
    for overheard in (True, False):
        found = attribute_score(Service(looks(0)), data, "loan", n=300, overheard=overheard)
        assert found.gain.value == 0
        assert found.gain.low < 0 < found.gain.high


def test_the_columns_are_found_and_what_has_none_is_refused(data):
    assert columns_of(data, "loan") == (0, 1)
    with pytest.raises(ConfigError, match="No two columns of table say no and yes to hidden"):
        columns_of(data, "hidden")
    with pytest.raises(ConfigError, match="no attribute named 'lone'; did you mean loan"):
        columns_of(data, "lone")
    with pytest.raises(ConfigError, match="no rows of a table"):
        columns_of(replace(data, train=replace(data.train, attributes=None)), "loan")


def test_labels_only_and_a_spent_budget_are_refused(data):
    for service in (Service(looks(0), Reply.LABEL), Service(looks(0), budget=599)):
        with pytest.raises(WithheldError):
            attribute_score(service, data, "loan", n=300)
