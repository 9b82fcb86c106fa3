import json

import numpy as np
import pytest

from cutlayer.data.legend import Legend, legend_of, read_legend
from cutlayer.data.load import load
from cutlayer.data.modality import Column
from cutlayer.data.words import Piece

COLUMNS = (Column("age", 0, (), 18, 95, 3.4), Column("job", 1, ("clerk", "nurse")))


def test_the_tokens_that_are_used_are_kept_and_no_others():
    data = load("documentation")
    ids = data.private.inputs[:3]
    legend = legend_of(data, [ids, np.array([[7, 2]])])
    assert set(legend.pieces) == {*np.unique(ids).tolist(), 7, 2}
    assert all(legend.pieces[number].text for number in legend.pieces if number)
    assert read_legend(legend.text()) == legend


def test_an_id_beyond_the_vocabulary_has_no_piece():
    data = load("documentation")
    assert set(legend_of(data, [np.array([[5, -1, 10**6]])]).pieces) == {5}


def test_columns_are_read_as_they_were_written():
    assert read_legend(Legend(columns=COLUMNS).text()) == Legend(columns=COLUMNS)


def test_pictures_need_no_legend():
    data = load("digits")
    assert legend_of(data, [data.private.inputs[:2]]).text() == ""


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "3", "{}", '{"pieces": {}}', '{"pieces": {"x": ["a", 0, 1]}, "columns": []}',
        '{"pieces": {"1": "a"}, "columns": []}', '{"pieces": {}, "columns": [{"name": "age"}]}', "[" * 100_000,
        json.dumps({"pieces": {}, "columns": [{"name": "a", "first": -1, "words": [], "low": 0, "high": 1,
                                               "tolerance": 0}]}),
        '{"pieces": {}, "columns": [{"name": "a", "first": 0, "words": [], "low": 0, "high": NaN, "tolerance": 0}]}',
    ],
)  # fmt: skip
def test_a_damaged_legend_says_nothing(text):
    assert read_legend(text) == Legend()


def test_a_piece_is_written_as_it_is_shown():
    legend = Legend({3: Piece("ing", glued=True, says=True), 4: Piece("[CLS]", glued=False, says=False)})
    assert read_legend(legend.text()).pieces == legend.pieces
