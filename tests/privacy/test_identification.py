"""The record of an identification: ranks, shares and the curve."""

import numpy as np
import pytest
import torch

from cutlayer.data.splits import Dataset, Splits
from cutlayer.privacy.identification import CANDIDATES, candidates, identification

WHO = {"attack": "a", "label": "a", "access": "BLACK_BOX", "deployment": "d", "n_releases": 1, "how": "pixels"}


def splits(n: int, *, copies: int = 0) -> Splits:
    images = np.random.default_rng(0).random((n, 1, 2, 2), dtype=np.float32)
    images[n - copies :] = images[:copies]
    part = Dataset(images, np.zeros(n, np.int64))
    return Splits("toy", ("one",), part, part, part, part)


def test_a_matcher_that_is_always_right():
    found, ranks = identification(torch.eye(50)[:20], splits(50), **WHO)
    assert (found.candidates, found.top_1.n, found.top_1.value, found.top_1.high) == (50, 20, 1, 1)
    assert found.top_1.low == pytest.approx(0.8316, abs=1e-4)
    assert set(found.curve) == {1}
    assert ranks.tolist() == [1] * 20


def test_a_matcher_that_says_nothing_finds_one_in_m_at_every_rank():
    found, ranks = identification(torch.zeros(20, 50), splits(50), **WHO)
    assert found.top_1.value == pytest.approx(1 / 50)
    assert found.top_10.value == pytest.approx(10 / 50)
    assert found.curve == pytest.approx([rank / 50 for rank in found.ranks], abs=1e-6)
    assert ranks.tolist() == [25.5] * 20


def test_the_curve_rises_from_the_first_rank_to_the_last():
    scores = torch.randn(100, 1000, generator=torch.Generator().manual_seed(0)) + 2 * torch.eye(1000)[:100]
    found, ranks = identification(scores, splits(1000), **WHO)
    assert (found.ranks[0], found.ranks[-1]) == (1, 1000)
    assert 20 < len(found.ranks) < 40
    assert list(found.curve) == sorted(found.curve)
    assert found.curve == pytest.approx([float((ranks <= rank).mean()) for rank in found.ranks], abs=1e-6)
    assert found.top_10.value == float((ranks <= 10).mean())


def test_copies_of_the_truth_count_as_the_truth_and_few_candidates_are_said():
    found, _ = identification(torch.zeros(1, 4), splits(4, copies=1), **WHO)
    assert (found.candidates, found.top_1.value) == (4, pytest.approx(1 / 3))
    assert found.top_10.value == 1


def test_inputs_beyond_the_candidates_are_left_out():
    data = splits(CANDIDATES + 5)
    assert len(candidates(data)) == CANDIDATES
    found, ranks = identification(torch.eye(CANDIDATES + 5, CANDIDATES), data, **WHO)
    assert found.top_1.n == len(ranks) == CANDIDATES
