"""Bank Marketing, where about one client in nine says yes: what the first epoch's gradients tell (A10), and EXACT."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.joint_step import as_it_is, hints, layers, train
from cutlayer.attacks.training.base import score
from cutlayer.data.bank import ATTRIBUTES, load
from cutlayer.data.load import data_root
from cutlayer.defenses.gradients.max_norm import MaxNorm
from cutlayer.metrics.detection import Curve
from cutlayer.registry import LABEL_ATTACKS

PRIVATE_COLUMNS = {20, 21, 23, 24, 25, 26}
"""Those of `ATTRIBUTES`, two for each."""
pytestmark = pytest.mark.skipif(
    not (data_root() / "bank-marketing" / "bank-full.csv").exists(), reason="Bank Marketing is not here"
)


@pytest.fixture(scope="module")
def bank():
    """Inputs of the training and the test part, standardized by column; labels, answers, labels of the test part."""
    splits = load(data_root(), 0)
    part, test = splits.train, splits.test
    center, width = part.inputs.mean(0), part.inputs.std(0)
    answers = part.attributes.astype(np.float32)
    arrays = (part.inputs - center) / width, (test.inputs - center) / width, part.labels, answers
    return *map(torch.from_numpy, arrays), test.labels


@pytest.fixture(scope="module")
def found(bank):
    """AUC of norm, of direction with one known positive, and of the model on test data, without and with max-norm."""
    inputs, test, labels, _, truth = bank
    results = []
    for protect in (as_it_is, MaxNorm().protect_cut_gradient):
        victim = train(layers(51, 64, 32, seed=1), layers(32, 32, 2, seed=2), inputs, labels, protect=protect)
        view = replace(victim.view, known=hints(victim.labels, 1, (1,)))
        with torch.no_grad():
            logits = victim.tail(victim.head(test)).double().numpy()
        tested = Curve(logits[:, 1] - logits[:, 0], truth == 1).auc(np.ones((1, len(truth)), np.float32))[0]
        results.append(
            (*(score(LABEL_ATTACKS.make(n), view, victim.labels).auc for n in ("norm", "direction")), tested)
        )
    return np.array(results)


def test_a10_the_first_epochs_gradients_give_the_labels_away(found):
    norm, direction, _ = found[0]
    assert norm > 0.97
    assert direction > 0.99


def test_a10_max_norm_hides_the_length_at_a_small_cost(found):
    norm, direction, tested = found[1]
    assert norm < 0.65
    assert direction < found[0, 1] - 0.1
    assert tested > found[0, 2] - 0.03


def test_exact_reads_the_label_and_the_private_answers(bank):
    """The party with the label holds three answers; 2,000 samples of the first epoch are attacked."""
    inputs, _, labels, answers, _ = bank
    columns = [column for column in range(inputs.shape[1]) if column not in PRIVATE_COLUMNS]
    public, labels, answers = inputs[:2000, columns], labels[:2000], answers[:2000]
    head, tail = layers(len(columns), 64, 32, seed=1), layers(32 + len(ATTRIBUTES), 32, 2, seed=2)
    victim = train(head, tail, public, labels, private=answers)
    combinations = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * len(ATTRIBUTES))
    view, exact = replace(victim.view, _private=combinations), LABEL_ATTACKS.make("exact")
    assert score(exact, view, victim.labels).accuracy > 0.99
    guessed, truth = combinations[exact.infer_private(view)], answers[victim.order]
    assert ((guessed == truth).float().mean(0) > 0.98).all()
