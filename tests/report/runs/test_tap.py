"""The page and the terminal's text of an attack on a tap, for each kind of input."""

import re

import numpy as np
import pytest

from cutlayer.data.legend import Legend
from cutlayer.data.modality import Column
from cutlayer.data.words import Piece
from cutlayer.records.run import PIXELS, AttackRecord, Estimate, IdentificationRecord
from cutlayer.records.tap import TapRecord
from cutlayer.report.runs.tap import page, text

SHARE = Estimate(0.75, 8, 0.6, 0.9)
SAID, READ = np.array([[1, 2, 3, 0], [2, 2, 1, 3]]), np.array([[1, 3, 3, 0], [2, 2, 1, 3]])
WORDS = Legend({i: Piece(word, glued=False, says=True) for i, word in enumerate(("read", "the", "file"), start=1)})
ROWS = np.array([[0.5, 1, 0]], np.float32)
COLUMNS = Legend(columns=(Column("age", 0, (), 0, 100, 4), Column("job", 1, ("clerk", "nurse"))))


def record(modality, metrics, label):
    attack = AttackRecord(
        attack=label, label=label, access="BLACK_BOX", deployment="tap", n_releases=1, fit_s=1.0, invert_s=1.0, n=8,
        metrics=metrics, leakage_gain=SHARE,
    )  # fmt: skip
    found = IdentificationRecord(
        attack=label, label=label, access="BLACK_BOX", deployment="tap", n_releases=1, how=PIXELS, candidates=20,
        top_1=SHARE, top_10=SHARE,
    )  # fmt: skip
    return TapRecord(
        schema=1, model="m@block1", version="0" * 16, defense="none", codec="raw", data="d", seed=0,
        access="BLACK_BOX", vantage="cloud", input=(4,), n=8, n_releases=1, scored=True, attacks=(attack,), failed=(),
        identification=(found,), modality=modality,
    )  # fmt: skip


def visible(source):
    return re.sub(r"<[^>]+>", "", re.sub(r"<style>.*?</style>", "", source, flags=re.S))


def test_a_tap_of_sentences_is_shown_in_words():
    made = record("tokens", {"token-accuracy": SHARE}, "token-ridge")
    source = page(made, SAID, {"token-ridge": READ}, WORDS)
    assert "Every attack, in words" in source
    assert "<li>read the file</li>" in source
    assert "read [file] file2 of 3 tokens right" in visible(source)
    assert "token-ridge, by tokens" in source
    assert not re.search("picture|pixel|psnr", visible(source) + text(made), re.IGNORECASE)


def test_sentences_whose_truth_is_unknown_are_shown_without_marks():
    source = page(record("tokens", {}, "token-ridge"), None, {"token-ridge": READ}, WORDS)
    assert "<li>read file file</li>" in source
    assert 'class="wrong"' not in source


def test_a_tap_of_rows_is_shown_column_by_column():
    made = record("table", {"columns-right": SHARE}, "table-decoder")
    source = page(made, ROWS, {"table-decoder": np.array([[0.53, 0.2, 0.3]], np.float32)}, COLUMNS)
    assert "Every attack, column by column" in source
    assert "Row 11 of 2 right" in visible(source)
    assert "[nurse]was clerk" in visible(source)
    assert not re.search("picture|pixel|psnr", visible(source) + text(made), re.IGNORECASE)


@pytest.mark.parametrize("modality", ["image", "tokens", "table", "of-tomorrow"])
def test_arrays_that_cannot_be_shown_are_left_out(modality):
    source = page(record(modality, {}, "ridge"), np.zeros((2, 3, 4)), {"ridge": np.zeros((2, 3, 4))}, Legend())
    assert "Every attack, in numbers" in source
    assert "<img" not in source
