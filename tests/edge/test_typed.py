"""Sentences that are typed: a terminal key by key, a pipe line by line, a data set word by word."""

import os
import pty
import termios

import numpy as np
import pytest

from cutlayer.data.documentation import LENGTH, own_tokenizer
from cutlayer.data.load import load
from cutlayer.data.splits import Dataset
from cutlayer.data.text import Tokenizer
from cutlayer.edge import typed
from cutlayer.edge.typed import Dictated, Given, Lines
from cutlayer.errors import DataError
from cutlayer.sequences import PAD

TOKENIZER = Tokenizer(own_tokenizer(), "the test's")


def said(frames):
    """The text of the next frame."""
    assert frames.changed(20)
    return TOKENIZER.read(frames.take(0).image[0])


@pytest.fixture
def terminal():
    """The keyboard's end of a terminal, and what reads the other one."""
    keyboard, reading = pty.openpty()
    before = termios.tcgetattr(reading)
    lines = Lines(TOKENIZER, LENGTH, fd=reading)
    yield keyboard, lines
    lines.close()
    assert termios.tcgetattr(reading) == before
    os.close(keyboard)
    os.close(reading)


def test_each_change_of_a_line_is_there_to_be_sent(terminal):
    keyboard, lines = terminal
    assert not lines.changed(0)
    for keys, expected in (
        (b"return the", "return the"),
        (b" string", "return the string"),
        (b"\x7f" * 6 + b"\x1b[D\x1b[1;5Cvalue", "return the value"),
        (b"\x15the", "the"),
        ("\xe9\b name".encode(), "the name"),
    ):
        os.write(keyboard, keys)
        assert said(lines) == expected
    assert not lines.changed(0)
    # Without a change the same sentence is there for who asks, as behind another defense.
    assert TOKENIZER.read(lines.take(9).image[0]) == "the name"


def test_enter_begins_another_sentence_and_loses_no_letter(terminal, capsys):
    keyboard, lines = terminal
    os.write(keyboard, b"return the value\rreturn the")
    assert [said(lines), said(lines)] == ["return the value", "return the"]
    os.write(keyboard, b"\r")
    assert not lines.changed(0.2)
    os.write(keyboard, b"\x04")
    assert lines.changed(20)
    assert lines.take(0) is None
    shown = capsys.readouterr().out
    assert "\r\x1b[K> return the" in shown
    assert shown.count("\n") == 2


def test_a_pipe_gives_whole_lines_and_ends():
    reading, writing = os.pipe()
    lines = Lines(TOKENIZER, LENGTH, fd=reading)
    os.write(writing, b"return the ")
    assert not lines.changed(0)
    os.write(writing, b"value\n\nthe name\nthe last line")
    os.close(writing)
    assert [said(lines) for _ in range(3)] == ["return the value", "the name", "the last line"]
    assert lines.changed(20)
    assert lines.take(0) is None
    os.close(reading)


def test_given_sentences_are_sent_in_their_order_and_the_last_one_stays(monkeypatch):
    given = Given(TOKENIZER, LENGTH, ["return the value", "the name"])
    assert said(given) == "return the value"
    assert not given.changed(0)
    assert TOKENIZER.read(given.take(1).image[0]) == "return the value"
    monkeypatch.setattr(given, "_until", 0.0)
    assert said(given) == "the name"
    assert not given.changed(0)
    with pytest.raises(DataError, match="' ' has no token"):
        Given(TOKENIZER, LENGTH, ["the name", " "])


@pytest.mark.parametrize("mark", [None, 5])
def test_a_data_set_is_typed_token_by_token(monkeypatch, mark):
    monkeypatch.setattr(typed, "HOLD_S", 0.0)
    ids = load("documentation").test.inputs[:2].copy()
    for row in ids:
        row[int((row != PAD).sum()) - 1] = mark or row[int((row != PAD).sum()) - 1]
    if mark is None:
        ids[1, int((ids[1] != PAD).sum()) - 1] += 1
    dictated = Dictated(Dataset(ids, np.zeros(2, np.int64)))
    sent = []
    while len(sent) < 80 and not (len(sent) > 2 and (sent[-1] == ids[1]).all()):
        assert dictated.changed(20)
        sent.append(dictated.take(len(sent)).image[0])
    counts = [int((row != PAD).sum()) for row in sent]
    n = int((ids[0] != PAD).sum())
    assert counts[: counts.index(n) + 1] == list(range(1 if mark is None else 3, n + 1))
    assert (sent[counts.index(n)] == ids[0]).all()
    for row, count in zip(sent[: counts.index(n)], counts, strict=False):
        assert (row[: count - 1] == ids[0][: count - 1]).all()
        assert mark is None or row[count - 1] == mark


def test_a_data_set_without_a_sentence_is_refused():
    with pytest.raises(DataError, match="no sentence to send"):
        Dictated(Dataset(np.zeros((0, 4), np.int64), np.zeros(0, np.int64)))
