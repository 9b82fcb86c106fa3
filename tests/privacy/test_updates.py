"""Scores of updates whose every value is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cutlayer.attacks.gradients.base import Recovered
from cutlayer.data.modality import TABLE, tokens
from cutlayer.data.splits import Dataset, Splits
from cutlayer.errors import DataError
from cutlayer.privacy.updates import score_updates


def splits(inputs, labels=None, modality=None, auxiliary=None):
    labels = np.arange(len(inputs)) % 3 if labels is None else labels
    data = Dataset(inputs, labels, **({"modality": modality} if modality else {}))
    other = data if auxiliary is None else replace(data, inputs=auxiliary, labels=np.zeros(len(auxiliary), np.int64))
    return Splits("random", ("a", "b", "c"), other, other, data, other)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return splits(rng.random((40, 1, 8, 8), np.float32), auxiliary=np.full((4, 1, 8, 8), 0.5, np.float32))


def batches(data):
    inputs, labels = torch.from_numpy(data.private.inputs[:6]), torch.from_numpy(data.private.labels[:6])
    return list(inputs.split(3)), list(labels.split(3))


def test_exact_answers_in_another_order_score_as_exact(data):
    inputs, labels = batches(data)
    found = [Recovered(i.flip(0), own.flip(0)) for i, own in zip(inputs, labels, strict=True)]
    scored = score_updates(found, inputs, labels, data)
    assert scored.n == 6
    assert scored.metrics["mse"].value == 0
    assert scored.metrics["psnr"].infinite == 6
    assert scored.metrics["ssim"].value == pytest.approx(1)
    for name in ("rebuilt", "identification", "labels", "whole batches"):
        assert scored.metrics[name].value == 1, name
    assert scored.leakage_gain.value == 1


def test_values_by_hand(data):
    """The first sample of each batch is off by 0.1 (20 dB), the others by 0.01 (40 dB); one label of six is wrong."""
    truth = [torch.full((3, 1, 8, 8), 0.6) + torch.arange(3)[:, None, None, None] / 10 for _ in range(2)]
    labels = [torch.tensor([0, 1, 2]), torch.tensor([0, 0, 1])]
    off = torch.tensor([0.1, 0.01, 0.01])[:, None, None, None]
    found = [Recovered((t - off)[[2, 0, 1]], labels[k] if k else torch.tensor([0, 1, 1])) for k, t in enumerate(truth)]
    scored = score_updates(found, truth, labels, data)
    assert scored.metrics["mse"].value == pytest.approx((0.01 + 2e-4) / 3, rel=1e-4)
    assert scored.metrics["psnr"].value == pytest.approx((20 + 40 + 40) / 3, abs=1e-3)
    assert scored.metrics["rebuilt"].value == pytest.approx(4 / 6)
    assert scored.metrics["labels"].value == pytest.approx(5 / 6)
    assert scored.metrics["whole batches"].value == 0.5
    # The mean sample of 0.5 is off by 0.1, 0.2 and 0.3.
    assert scored.leakage_gain.value == pytest.approx(1 - 0.0102 / 0.14, rel=1e-4)


def test_the_mean_gains_nothing_and_identifies_no_more_than_one_of_all(data):
    inputs, labels = batches(data)
    mean = torch.from_numpy(data.floor)
    scored = score_updates([Recovered(mean.expand(3, 1, 8, 8)) for _ in inputs], inputs, labels, data)
    assert scored.leakage_gain.value == 0
    assert scored.metrics["identification"].value <= 1 / 6
    assert "labels" not in scored.metrics


def test_samples_that_a_defense_has_multiplied_are_paired_with_as_many_as_there_are(data):
    inputs, labels = batches(data)
    more = [torch.cat([i, i / 2]) for i in inputs]
    shares = [torch.eye(3)[torch.cat([each, each])] for each in labels]
    scored = score_updates([Recovered(i, each) for i, each in zip(inputs, labels, strict=True)], more, shares, data)
    assert (scored.n, scored.metrics["mse"].value) == (6, 0)


def test_rows_of_a_table():
    rows = np.array([[0.0, 1, 0], [1.0, 0, 1], [0.5, 1, 0], [0.5, 0, 1]], np.float32)
    data = splits(rows, modality=TABLE)
    truth = torch.from_numpy(rows[:2])
    wrong = truth.clone()
    wrong[1] = torch.tensor([0.5, 0.2, 0.9])  # the number is off by 0.5, at a standard deviation of 0.354
    scored = score_updates([Recovered(wrong)], [truth], [torch.tensor([0, 1])], data)
    assert scored.metrics["features"].value == 0.75
    assert scored.metrics["exact rows"].value == 0.5
    assert not {"ssim", "rebuilt"} & scored.metrics.keys()


@pytest.mark.parametrize(
    ("answer", "words"), [(torch.full((3, 1, 8, 8), torch.nan), "NaN"), (torch.zeros(3, 1, 4, 4), "not")]
)
def test_an_answer_of_another_form_is_refused(data, answer, words):
    inputs, labels = batches(data)
    with pytest.raises(DataError, match=words):
        score_updates([Recovered(answer)], inputs[:1], labels[:1], data)


def test_samples_beyond_the_range_of_inputs_are_no_truth(data):
    """Mixtures of a defense may be negative; what the attack finds is paired with the others."""
    inputs, labels = batches(data)
    mixed = [torch.cat([i, i - 2]) for i in inputs]
    scored = score_updates([Recovered(i) for i in inputs], mixed, labels, data)
    assert (scored.n, scored.metrics["mse"].value) == (6, 0)
    with pytest.raises(DataError, match="range of inputs"):
        score_updates([Recovered(i) for i in inputs], [i - 2 for i in inputs], labels, data)


def test_sentences_are_paired_and_scored_by_their_tokens():
    ids = np.array([[1, 2, 3, 0], [4, 5, 6, 7], [1, 1, 1, 1]])
    data = splits(ids, modality=tokens(9))
    truth = torch.from_numpy(ids[:2])
    found = torch.tensor([[4, 5, 8, 7], [1, 2, 3, 0]])
    scored = score_updates([Recovered(found)], [truth], [torch.tensor([0, 1])], data)
    assert scored.metrics["token-accuracy"].value == pytest.approx((1 + 3 / 4) / 2)
    assert scored.metrics["exact"].value == 0.5
    assert not {"psnr", "rebuilt", "features"} & scored.metrics.keys()
