"""The pairing, labels and columns of a table, with values that were computed by hand."""

import numpy as np
import pytest
import torch

from cutlayer.attacks.gradients.scoring import TOLERANCE, features, features_right, labels_right, paired


def column(*values):
    return torch.tensor(values, dtype=torch.float32)[:, None]


def test_the_pairing_has_the_least_sum_and_not_the_nearest_for_each():
    """0.4 is nearest to 0.5 and 0.9 as well; squared errors .01 + .81 against .16 + .16."""
    mine, theirs = paired(column(0.4, 0.9), column(0.5, 0.0))
    assert theirs.tolist() == [0, 1]
    assert mine.tolist() == [1, 0]


@pytest.mark.parametrize(("n", "m"), [(2, 3), (3, 2)])
def test_what_is_too_many_stays_unpaired(n, m):
    recovered, truth = torch.arange(n).float()[:, None], torch.arange(m).float()[:, None]
    mine, theirs = paired(recovered.flip(0), truth)
    assert len(mine) == len(theirs) == 2
    assert recovered.flip(0)[mine].tolist() == truth[theirs].tolist()


def test_labels_count_by_class_and_not_by_place():
    truth = torch.tensor([0, 0, 1, 2])
    assert labels_right(torch.tensor([2, 1, 0, 0]), truth, 3) == 1
    assert labels_right(torch.tensor([0, 0, 0, 0]), truth, 3) == 0.5
    assert labels_right(torch.tensor([1, 1, 1, 2]), truth, 3) == 0.5


def test_a_feature_is_a_number_or_the_flags_of_one_word():
    rows = np.array([[0.3, 1, 0, 0, 1, 0.5], [0.7, 0, 0, 1, 0, 0.5], [0.2, 0, 1, 0, 1, 1.0]], np.float32)
    assert features(rows) == (slice(0, 1), slice(1, 4), slice(4, 5), slice(5, 6))
    two = np.array([[1, 0, 0, 1], [0, 1, 1, 0]], np.float32)
    assert features(two) == (slice(0, 2), slice(2, 4))


def test_a_number_is_right_within_the_tolerance_and_a_word_by_its_greatest_flag():
    truth = torch.tensor([[0.5, 1, 0], [0.5, 0, 1]])
    near, far = 0.99 * TOLERANCE * 0.1, 1.01 * TOLERANCE * 0.1
    recovered = torch.tensor([[0.5 + near, 0.4, 0.3], [0.5 + far, 0.2, 0.1]])
    right = features_right(recovered, truth, (slice(0, 1), slice(1, 3)), torch.tensor([0.1, 0, 0]))
    assert right.tolist() == [[True, True], [False, False]]
