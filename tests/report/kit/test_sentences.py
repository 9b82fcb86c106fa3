import re

import numpy as np

from cutlayer.data.words import Piece
from cutlayer.report.kit.sentences import MOST_TOKENS, reading, sentences, shares

WORDS = ("[CLS]", "read", "##ing", "a", "file", "(", "size", ")", ".", "[UNK]")
PIECES = {
    i: Piece(word.removeprefix("##"), word.startswith("##"), word != "[CLS]") for i, word in enumerate(WORDS, start=1)
}
CLS, READ, ING, A, FILE, OPEN, SIZE, CLOSE, STOP, UNK = range(1, 11)
SAID = np.array([[CLS, READ, ING, A, FILE, OPEN, SIZE, CLOSE, STOP, 0, 0]])


def text(html: str) -> str:
    return re.sub(r"<[^>]+>", "", re.sub(r"</li><li>|<small>", "|", html))


def test_a_sentence_is_written_as_people_write_it():
    assert text(sentences(SAID, [0], PIECES, "said")) == "reading a file (size)."


def test_wrong_tokens_are_marked_and_right_ones_counted_without_marks_of_the_vocabulary():
    read = SAID.copy()
    read[0, [0, 4, 6]] = A, READ, UNK
    html = sentences(read, [0], PIECES, "read", SAID)
    assert text(html) == "reading a [read] ( [‹?›]).|6 of 8 tokens right"
    assert html.count('class="wrong"') == 2


def test_wrong_tokens_side_by_side_are_one_mark():
    read = SAID.copy()
    read[0, 1:4] = FILE
    assert text(sentences(read, [0], PIECES, "read", SAID)).startswith("[file file file] file (")


def test_a_wrong_part_of_a_word_goes_on_the_word_before_it_only_where_a_part_of_that_belongs():
    read = SAID.copy()
    read[0, [2, 4]] = FILE, ING
    assert text(sentences(read, [0], PIECES, "read", SAID)).startswith("read [file] a [ing] (size).")


def test_nothing_where_a_token_was_is_wrong_and_what_follows_the_end_is_not_shown():
    read = SAID.copy()
    read[0, [4, 9]] = 0, FILE
    found = reading(read[0], PIECES, SAID[0])
    assert [token.text for token in found.tokens if token.wrong] == ["∅"]
    assert (found.right, found.n) == (7, 8)


def test_a_token_that_nobody_knows_is_shown_by_its_id():
    assert text(sentences(np.array([[77, 0]]), [0], {}, "read")) == "#77"


def test_a_long_sentence_is_cut_and_counted_whole():
    said = np.full((1, MOST_TOKENS + 5), A)
    html = text(sentences(said, [0], PIECES, "read", said))
    assert html.endswith(f" … and 5 more tokens|{MOST_TOKENS + 5} of {MOST_TOKENS + 5} tokens right")


def test_no_token_can_put_markup_into_the_page():
    evil = {1: Piece("<img src=x>", glued=False, says=True)}
    assert "<img" not in sentences(np.array([[1]]), [0], evil, "read", np.array([[2]]))


def test_the_share_of_right_tokens_does_not_count_what_follows_the_end():
    read = SAID.copy()
    read[0, [1, 10]] = A, A
    np.testing.assert_allclose(shares(read, SAID, {}), [8 / 9])


def test_a_word_outside_the_vocabulary_does_not_count_whatever_is_read_there():
    said = SAID.copy()
    said[0, [3, 4]] = UNK
    read = said.copy()
    read[0, [4, 8]] = A, A
    assert text(sentences(read, [0], PIECES, "read", said)) == "reading ‹?› ‹?› (size) [a]|5 of 6 tokens right"
    np.testing.assert_allclose(shares(read, said, PIECES), [5 / 6])
