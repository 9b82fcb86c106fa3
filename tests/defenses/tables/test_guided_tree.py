"""The decision tree that looks away from sensitive columns."""

import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier

from cutlayer.defenses.tables.guided_tree import GuidedTree


@pytest.fixture(scope="module")
def table():
    """Five flags and a number; the class follows the first flag mostly, and the number a little."""
    rng = np.random.default_rng(0)
    inputs = np.column_stack([rng.random((600, 5)) < 0.5, rng.random(600)]).astype(np.float32)
    odds = 3 * inputs[:, 0] - 1.5 + 1.5 * (inputs[:, 5] - 0.5) + inputs[:, 1] * inputs[:, 2]
    return inputs, (rng.random(600) < 1 / (1 + np.exp(-odds))).astype(np.int64)


def test_without_a_guard_it_is_scikit_learns_tree(table):
    inputs, labels = table
    flags = inputs[:, :5]
    ours = GuidedTree(depth=3, least=20).fit(flags, labels).answers(flags)
    theirs = DecisionTreeClassifier(max_depth=3, min_samples_leaf=20, random_state=0).fit(flags, labels)
    assert np.allclose(ours, theirs.predict_proba(flags))


def test_numbers_are_split_as_well(table):
    inputs, labels = table
    ours = GuidedTree(depth=4, least=20).fit(inputs, labels)
    theirs = DecisionTreeClassifier(max_depth=4, min_samples_leaf=20, random_state=0).fit(inputs, labels)
    assert 5 in ours.columns()
    accuracy = (ours.answers(inputs).argmax(1) == labels).mean()
    assert accuracy == pytest.approx(theirs.score(inputs, labels), abs=0.02)


def test_a_guard_of_1_never_looks_at_a_sensitive_column_and_a_weak_one_still_does(table):
    inputs, labels = table
    changed = inputs.copy()
    changed[:, 0] = 1 - changed[:, 0]
    for guard, looks in ((0.0, True), (0.2, True), (1.0, False)):
        tree = GuidedTree(sensitive=(0,), guard=guard, depth=4).fit(inputs, labels)
        assert (0 in tree.columns()) == looks
        assert np.array_equal(tree.answers(inputs), tree.answers(changed)) != looks


def test_the_guard_decides_by_the_weighted_gain(table):
    """A sensitive column that has lost most of its gain is no longer the first choice, and may be a later one."""
    inputs, labels = table
    assert GuidedTree(sensitive=(0,), guard=0.0, depth=1).fit(inputs, labels).columns() == {0}
    assert GuidedTree(sensitive=(0,), guard=0.99, depth=1).fit(inputs, labels).columns() != {0}


def test_no_answer_is_of_fewer_rows_than_it_must_be(table):
    inputs, labels = table
    said = GuidedTree(depth=10, least=50).fit(inputs, labels).answers(inputs)
    sizes = np.unique(said, axis=0, return_counts=True)[1]
    assert sizes.min() >= 50
