"""Rows of Bank Marketing from their gradients: A24."""

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.attacks.gradients.client import observed
from cutlayer.attacks.gradients.priors import Table
from cutlayer.attacks.gradients.scoring import features, features_right, paired
from cutlayer.attacks.gradients.tableak import TabLeak
from cutlayer.attacks.gradients.view import UpdateView
from cutlayer.data.bank import load
from cutlayer.data.load import data_root
from cutlayer.data.modality import TABLE
from cutlayer.data.splits import Dataset, Splits
from cutlayer.defenses.updates.none import Unprotected
from cutlayer.errors import ConfigError
from cutlayer.models.normalize import Normalize

bank_is_here = pytest.mark.skipif(
    not (data_root() / "bank-marketing" / "bank-full.csv").exists(), reason="Bank Marketing is not here"
)


@pytest.fixture(scope="module")
def bank() -> Splits:
    return load(data_root(), 0)


def shares(bank: Splits, attack: TabLeak, samples: int, batches: int = 1) -> tuple[float, float]:
    """The share of features that are right, of the attack and of each column's most frequent word or median."""
    own = bank.auxiliary.inputs
    torch.manual_seed(0)
    model = nn.Sequential(
        Normalize(51, tuple(own.mean(0).tolist()), tuple(own.std(0).tolist()), axes=0),
        nn.Linear(51, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 2),
    )  # fmt: skip
    of, spread = features(own), torch.from_numpy(own.std(0))
    view = UpdateView(input=bank.input, classes=2, auxiliary=bank.auxiliary.take(2000))
    usual = Table(1, torch.from_numpy(own)).hard(
        torch.from_numpy(np.where(np.isin(own, (0, 1)).all(0), own.mean(0), np.median(own, 0)).astype(np.float32)[None])
    )
    found, floor = [], []
    for k in range(batches):
        part = bank.private.at(np.s_[k * samples : (k + 1) * samples])
        inputs, labels = torch.from_numpy(part.inputs), torch.from_numpy(part.labels)
        observation = observed(model, inputs, labels, Unprotected(), np.random.default_rng(0)).observation
        (recovered,) = attack.invert(view, [observation])
        i, j = paired(recovered.inputs, inputs)
        found.append(features_right(recovered.inputs[i], inputs[j], of, spread).float().mean())
        floor.append(features_right(usual.expand_as(inputs), inputs, of, spread).float().mean())
    return float(np.mean(found)), float(np.mean(floor))


@bank_is_here
def test_a24_eight_rows_are_found(bank):
    found, floor = shares(bank, TabLeak(restarts=1, iterations=600), 8)
    assert found > 0.95
    assert floor < 0.75


@pytest.mark.slow
@bank_is_here
def test_a24_of_32_rows_more_is_found_than_what_is_usual(bank):
    found, floor = shares(bank, TabLeak(restarts=30), 32)
    assert found > floor + 0.05


def test_rows_keep_to_their_words_and_bounds():
    rows = torch.tensor([[0.2, 1.0, 0.0, 0.0, 0.5], [0.6, 0.0, 0.0, 1.0, 0.9], [0.4, 0.0, 1.0, 0.0, 0.7]])
    table = Table(4, rows)
    start = table.begin({}, torch.Generator().manual_seed(0))
    found = table.decode({"table": start["table"] * 100})
    torch.testing.assert_close(found[:, 1:4].sum(1), torch.ones(4))
    assert found[:, 0].min() >= 0.2
    assert found[:, 0].max() <= 0.6
    hard = table.hard(torch.tensor([[0.3, 0.2, 0.5, 0.3, 0.6]]))
    torch.testing.assert_close(hard, torch.tensor([[0.3, 0.0, 1.0, 0.0, 0.6]]))


def test_the_median_of_rows_in_one_order_outvotes_a_search_that_went_wrong():
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.random((30, 3)), np.eye(3)[rng.integers(3, size=30)]], 1).astype(np.float32)
    view = UpdateView(input=TABLE.spec(6), classes=2, auxiliary=Dataset(rows, np.zeros(30, np.int64)))
    truth, labels = torch.from_numpy(rows[:4]), torch.tensor([0, 0, 1, 1])
    torch.manual_seed(0)
    searches = torch.stack([truth, truth[[1, 0, 2, 3]], truth[[0, 1, 3, 2]], torch.rand(4, 6)])
    found = TabLeak()._chosen(view, searches, labels.expand(4, 4), torch.tensor([0.1, 0.2, 0.3, 0.4]))
    torch.testing.assert_close(found.inputs, truth)


def test_images_are_refused():
    with pytest.raises(ConfigError, match="searches rows of a table"):
        Table(2, torch.rand(4, 1, 8, 8))
