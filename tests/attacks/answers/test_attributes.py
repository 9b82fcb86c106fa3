"""Attribute inference: its two scores, and its figures on Bank Marketing."""

import numpy as np
import pytest

from cutlayer.attacks.answers.attributes import imputed, inferred
from cutlayer.data.bank import load
from cutlayer.data.load import data_root
from cutlayer.defenses.tables.guided_tree import GuidedTree
from cutlayer.metrics.detection import Curve

ROWS = np.array([[1, 0, 0.2], [0, 1, 0.2], [1, 0, 0.8], [0, 1, 0.8]], np.float32)
LABELS = np.array([0, 1, 0, 1])
PRIOR = np.zeros(4)


def says(rows):
    """A model that looks at the sensitive column of rows whose number is great, and at no other."""
    p = np.where(rows[:, 2] > 0.5, 0.2 + 0.5 * rows[:, 1], 0.3)
    return np.stack([1 - p, p], 1)


def test_an_answer_that_was_seen_decides_where_the_model_looks_at_the_column():
    odds = inferred(says, ROWS, LABELS, (0, 1), PRIOR, says(ROWS))
    assert odds[:2].tolist() == [0, 0]
    assert odds[2] < -100
    assert odds[3] > 100


def test_the_class_alone_weighs_by_what_the_model_gives_it():
    odds = inferred(says, ROWS, LABELS, (0, 1), PRIOR)
    assert odds == pytest.approx([0, 0, np.log(0.3 / 0.8), np.log(0.7 / 0.2)])


def test_the_true_column_is_not_looked_at():
    turned = ROWS.copy()
    turned[:, :2] = 1 - turned[:, :2]
    for seen in (None, says(ROWS)):
        assert np.array_equal(*(inferred(says, rows, LABELS, (0, 1), PRIOR, seen) for rows in (ROWS, turned)))
    rng = np.random.default_rng(0)
    own = np.concatenate([np.eye(2)[rng.integers(2, size=200)], rng.random((200, 1))], 1).astype(np.float32)
    known = own, rng.integers(2, size=200)
    assert np.array_equal(*(imputed(*known, rows, LABELS, (0, 1)) for rows in (ROWS, turned)))


@pytest.mark.skipif(
    not (data_root() / "bank-marketing" / "bank-full.csv").exists(), reason="Bank Marketing is not here"
)
def test_a_guided_tree_tells_nothing_above_the_floor_at_equal_accuracy():
    """Whether a client of the bank has a mortgage (housing), asked about clients that the tree was trained on."""
    data, columns = load(data_root(), 0), (23, 24)
    asked = data.train.take(2000)
    yes, ones = asked.inputs[:, 24] > 0.5, np.ones((1, 2000), np.float32)
    own = data.auxiliary.take(4000)
    prior = imputed(own.inputs, own.labels, asked.inputs, asked.labels, columns)
    found = {}
    for guard in (0.0, 1.0):
        tree = GuidedTree(sensitive=columns, guard=guard, depth=6).fit(data.train.inputs, data.train.labels)
        scores = inferred(tree.answers, asked.inputs, asked.labels, columns, prior, tree.answers(asked.inputs))
        accuracy = (tree.answers(data.test.inputs).argmax(1) == data.test.labels).mean()
        found[guard] = accuracy, float(Curve(scores, yes).auc(ones)[0])
    floor = float(Curve(prior, yes).auc(ones)[0])
    assert found[0.0][1] > floor + 0.02
    assert found[1.0][1] == pytest.approx(floor, abs=1e-6)
    assert found[1.0][0] == pytest.approx(found[0.0][0], abs=0.01)
