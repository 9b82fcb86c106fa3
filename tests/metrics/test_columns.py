"""What holds for the metrics of rows of a table."""

import pytest
import torch

from cutlayer.data.modality import Column, table
from cutlayer.metrics.base import Context
from cutlayer.metrics.columns import right_columns
from cutlayer.metrics.nearness import error_of
from cutlayer.registry import METRICS

COLUMNS = (Column("age", 0, low=20, high=60, tolerance=4.0), Column("job", 1, ("clerk", "cook", "judge")))
TRUE = torch.tensor([[0.5, 0.0, 1.0, 0.0], [0.1, 1.0, 0.0, 0.0]])


def test_every_metric_that_takes_columns_is_known():
    known = {name for name in METRICS if "columns" in METRICS.load(name).needs}
    assert known == {"columns-right", "rows-exact"}


@pytest.mark.parametrize(
    ("guess", "right"),
    [
        ([0.5, 0.0, 1.0, 0.0], [True, True]),
        ([0.59, 0.2, 0.5, 0.3], [True, True]),  # 3.6 years off, and the greatest share
        ([0.61, 0.2, 0.5, 0.3], [False, True]),  # 4.4 years off
        ([0.39, 0.5, 0.2, 0.3], [False, False]),
    ],
)
def test_a_word_is_the_greatest_share_and_a_number_is_within_its_tolerance(guess, right):
    rows = torch.tensor([guess, TRUE[1].tolist()])
    assert right_columns(rows, TRUE, COLUMNS).tolist() == [right, [True, True]]
    context, share = Context(columns=COLUMNS), sum(right) / 2
    scores = {
        name: METRICS.load(name).score(rows, TRUE, TRUE, context).tolist() for name in ("columns-right", "rows-exact")
    }
    assert scores == {"columns-right": [share, 1.0], "rows-exact": [float(all(right)), 1.0]}
    assert error_of(table(COLUMNS))(rows, TRUE).tolist() == [1 - share, 0.0]


def test_the_floor_says_the_usual_word_and_the_number_near_which_most_rows_are():
    own = torch.tensor([[0.1, 0.0, 1.0, 0.0], [0.2, 0.0, 1.0, 0.0], [0.9, 1.0, 0.0, 0.0]]).numpy()
    assert table(COLUMNS).floor(own).tolist() == pytest.approx([0.15, 0.0, 1.0, 0.0])
    assert table(()).floor(own).tolist() == pytest.approx([0.4, 1 / 3, 2 / 3, 0.0])
