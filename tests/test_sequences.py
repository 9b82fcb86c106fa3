import numpy as np

from cutlayer.sequences import by_length, lengths, padded, trimmed

IDS = np.array([[3, 0, 4, 0, 0], [5, 0, 0, 0, 0], [0, 0, 0, 0, 0]], np.int64)


def test_padding_is_what_stands_behind_the_last_token():
    assert lengths(IDS).tolist() == [3, 1, 1]
    assert trimmed(IDS).tolist() == [[3, 0, 4], [5, 0, 0], [0, 0, 0]]
    whole = np.ones((2, 3), np.int64)
    assert trimmed(whole) is whole


def test_padded_is_zero_behind_the_end():
    assert padded(np.ones((1, 2, 2)), 3).tolist() == [[[1, 1], [1, 1], [0, 0]]]


def test_each_length_is_computed_by_itself():
    seen = []

    def compute(ids: np.ndarray) -> np.ndarray:
        seen.append(ids.shape)
        return ids[..., None] * 2.0

    result = by_length(compute, IDS, 5)
    assert seen == [(2, 1), (1, 3)]
    assert result.shape == (3, 5, 1)
    assert result[..., 0].tolist() == (IDS * 2).tolist()
