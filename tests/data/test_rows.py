"""Rows of a table as inputs: how columns are encoded, tables that come with packages, and tables of one's own."""

import re

import numpy as np
import pytest

from cutlayer.data.load import load
from cutlayer.data.rows import rows_of
from cutlayer.errors import DataError
from cutlayer.registry import DATASETS

MINE = "age,job,label\n" + "".join(
    f"{20 + k},{('clerk', 'cook', 'judge')[k % 3]},{'yes' if k % 2 else 'no'}\n" for k in range(24)
)


@pytest.fixture
def mine(tmp_path):
    def write(text: str) -> str:
        path = tmp_path / "mine.csv"
        path.write_text(text)
        return str(path)

    return write


def test_a_number_is_scaled_and_a_word_becomes_one_number_for_each():
    rows, (age, job) = rows_of({"age": ["20", "60", "30"], "job": ["cook", "clerk", "cook"]}, "here")
    assert rows.tolist() == [[0.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.25, 0.0, 1.0]]
    assert (age.first, age.stop, age.low, age.high, age.words) == (0, 1, 20.0, 60.0, ())
    assert age.tolerance == pytest.approx(0.319 * np.std([20, 60, 30]))
    assert (job.first, job.stop, job.words) == (1, 3, ("clerk", "cook"))
    assert [column.said(rows[2]) for column in (age, job)] == ["30", "cook"]


@pytest.mark.parametrize(
    ("name", "columns", "n"), [("breast-cancer", 30, 569), ("wine", 13, 178), ("diabetes", 10, 442)]
)
def test_the_embedded_tables(name, columns, n):
    data = load(name)
    assert len(data.columns) == columns
    assert sum(map(len, data.parts.values())) == n
    assert data.modality.name == "table"
    for part in data.parts.values():
        assert part.inputs.dtype == np.float32
        assert part.inputs.min() >= 0
        assert part.inputs.max() <= 1
    shares = np.bincount(data.train.labels, minlength=len(data.classes)) / len(data.train)
    assert shares.min() > 0.2
    if name == "diabetes":
        assert next(c for c in data.columns if c.name == "sex").words == ("sex 1", "sex 2")
        assert shares.tolist() == pytest.approx([0.5, 0.5], abs=0.01)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_of_ones_own(mine, delimiter):
    data = load(mine("\ufeff" + MINE.replace(",", delimiter)))
    assert data.classes == ("no", "yes")
    assert [column.name for column in data.columns] == ["age", "job"]
    assert sorted(len(part) for part in data.parts.values()) == [3, 3, 6, 12]
    for row, label in zip(data.private.inputs, data.private.labels, strict=True):
        k = round(float(data.columns[0].said(row))) - 20
        assert data.columns[1].said(row) == ("clerk", "cook", "judge")[k % 3]
        assert label == k % 2
    assert data.floor.shape == (4,)


def test_blanks_around_names_and_cells_are_none_of_them(mine):
    data = load(mine(MINE.replace(",", " , ")))
    assert data.classes == ("no", "yes")
    assert [(column.name, column.words) for column in data.columns] == [
        ("age", ()),
        ("job", ("clerk", "cook", "judge")),
    ]


@pytest.mark.parametrize("rows", [3, 7])
def test_a_table_that_is_too_small_for_several_parts_is_all_in_one(mine, rows):
    data = load(mine("\n".join(MINE.splitlines()[: rows + 1])))
    assert [len(part) for part in data.parts.values()] == [0, 0, 0, rows]
    with pytest.raises(DataError, match=rf"holds {rows} rows, too few, .* at least 8 in all"):
        data.check_full()


def test_equal_rows_stay_in_one_part(mine):
    text = "age,label\n" + "".join(f"{k % 4},{'yes' if k % 2 else 'no'}\n" for k in range(40))
    data = load(mine(text))
    seen = [{row.tobytes() for row in part.inputs} for part in data.parts.values()]
    assert sum(map(len, seen)) == len(set().union(*seen)) == 4


def test_another_content_is_other_data(mine):
    first = DATASETS.identity(mine(MINE))
    assert first.startswith("path#")
    assert DATASETS.identity(mine(MINE.replace("cook", "cool"))) != first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINE.replace("label", "loan"), "needs one column of classes, named label, class, target or y, and it has age"),
        (MINE.replace("job", "class"), "and it has class and label"),
        (MINE.replace("job", "age"), "names the column 'age' more than once"),
        (MINE.replace("25,judge", "25"), "has 2 cells in row 6, and its first line names 3 columns"),
        (MINE.replace("25,judge", ",judge"), "The column 'age' of .* is empty in row 6 of 24; fill it in"),
        (MINE.replace(",judge,", ", ,"), "'job' of .* is empty in row 3, as in 7 more of 24; fill it in"),
        (MINE.replace(",yes", ","), "'label' of .* is empty in row 2, as in 11 more of 24"),
        (re.sub(",(clerk|cook|judge),", ",,", MINE), "'job' of .* is empty in all 24 rows; remove the column"),
        (MINE.replace("age,job", "age,"), "gives no name to its column 2 in its first line; name it, or remove it"),
        (MINE.replace("job,", "age ,"), "names the column 'age' more than once"),
        (MINE.replace("25,judge", "nan,judge"), "says 'nan' in row 6; write a finite number"),
        (MINE.replace("25,judge", "inf,judge"), "says 'inf' in row 6; write a finite number"),
        (MINE.replace("25,judge", "many,judge"), "holds 23 numbers and 1 words, such as 'many'"),
        (MINE.replace("cook", "clerk").replace("judge", "clerk"), "'job' of .* says 'clerk' in each row"),
        (MINE.replace("yes", "no"), "names 1 classes in its rows"),
        ("age,job,label\n", "holds 3 columns and 0 rows"),
        ("", "needs one column of classes"),
        ("label\nyes\nno\n", "holds 1 columns and 2 rows"),
        (
            "name,label\n" + "".join(f"name{k},{k % 2}\n" for k in range(300)),
            "holds 300 different words, and at most 256",
        ),
        ("\0\0\0,label\n1,2\n", "needs|cannot be read|is no table|classes"),
    ],
)
def test_what_is_no_table_is_refused_in_a_sentence(mine, text, message):
    with pytest.raises(DataError, match=message):
        load(mine(text))
