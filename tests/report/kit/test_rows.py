import re

import numpy as np
import pytest

from cutlayer.data.modality import Column
from cutlayer.report.kit.rows import MOST_COLUMNS, numbered, rightly, rows, said, side_by_side

AGE, JOB = Column("age", 0, (), 20.0, 100.0, 4.0), Column("job", 1, ("clerk", "nurse", "none"))
RATE = Column("rate", 4, (), -1.0, 1.0, 0.05)
COLUMNS = (AGE, JOB, RATE)
TRUE = np.array([[0.25, 0, 1, 0, 0.5], [0.5, 1, 0, 0, 0.25]], np.float16)
MADE = np.array([[0.29, 0.4, 0.3, 0.3, 0.51], [0.9, 0.9, 0, 0.2, 0.0]], np.float16)


def cells(html: str) -> list[list[str]]:
    lines = re.findall(r"<tr>(.*?)</tr>", html)
    return [[re.sub(r"<[^>]+>", "", c.replace("<small>", "|")) for c in re.split(r"</t[hd]>", line)[:-1]]
            for line in lines]  # fmt: skip


def test_a_row_is_shown_column_by_column_in_the_units_of_each():
    assert cells(rows(TRUE, [0, 1], COLUMNS, "held")) == [
        ["Column", "Row 1", "Row 2"], ["age", "40", "60"], ["job", "nurse", "clerk"], ["rate", "0.00", "−0.50"],
    ]  # fmt: skip


def test_what_is_wrong_is_marked_with_the_truth_below_it():
    html = rows(MADE, [0, 1], COLUMNS, "made", TRUE)
    assert cells(html) == [
        ["Column", "Row 1|2 of 3 right", "Row 2|1 of 3 right"],
        ["age", "43", "[92]|was 60"],
        ["job", "[clerk]|was nurse", "clerk"],
        ["rate", "0.02", "[−1.00]|was −0.50"],
    ]
    assert html.count('class="wrong"') == 3


def test_attacks_stand_side_by_side():
    found = cells(side_by_side(TRUE, {"ridge": MADE, "exact": TRUE}, 0, COLUMNS, "one"))
    assert found[0] == ["Column", "what was held", "ridge|2 of 3 right", "exact|3 of 3 right"]
    assert found[2] == ["job", "nurse", "[clerk]", "nurse"]


def test_numbers_of_unknown_columns_are_shown_and_not_judged():
    found = cells(rows(MADE, [0], (), "made", TRUE))
    assert found[0] == ["Column", "Row 1"]
    assert found[1][0] == "number 1"
    assert not any("was" in cell for line in found for cell in line)
    assert rightly(numbered(5)[0], MADE, TRUE) is None


def test_a_wide_table_is_cut_and_says_so():
    wide = np.zeros((1, MOST_COLUMNS + 3))
    html = rows(wide, [0], (), "held")
    assert len(cells(html)) == 1 + MOST_COLUMNS
    assert "3 further columns are in the records." in html


@pytest.mark.parametrize("row", [np.full(5, np.nan), np.zeros(0), np.full(5, np.inf)])
def test_what_is_no_number_is_a_dash(row):
    assert said(AGE, row) == said(JOB, row) == "–"
