"""How tokens of the usual vocabularies are written for people."""

import pytest

from cutlayer.data.load import load
from cutlayer.data.words import pieces, written

BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "play", "##ing", "##s", "the", "##", "\u202eevil"]
GPT_2 = ["<|endoftext|>", "\u0120the", "\u0120play", "ing", ".", "\u0120na\u00c3\u00afve", "\u010a", "\u00c3"]
PIECES = ["<s>", "</s>", "\u2581the", "\u2581play", "ing", "\u2581"]


@pytest.mark.parametrize(
    ("words", "ids", "said"),
    [
        (BERT, [2, 7, 4, 5, 1, 3, 0], "the playing [UNK]"),
        (BERT, [8, 6], "##s"),
        (GPT_2, [1, 2, 3, 4, 5, 0], "the playing. na\u00efve"),
        (GPT_2, [6, 7], "\\n\ufffd"),
        (PIECES, [0, 2, 3, 4, 1], "the playing"),
    ],
)
def test_a_sentence_is_written_as_people_write_it(words, ids, said):
    assert written(pieces(words), ids) == said


def test_marks_say_nothing_and_what_steers_is_escaped():
    known = pieces(BERT)
    assert [piece.says for piece in known] == [False, True, False, False, *[True] * 6]
    assert known[9].text == "\\u202eevil"


def test_the_words_of_documentation_stand_by_themselves():
    data = load("documentation")
    known = pieces(data.words)
    ids = [i for i in data.test.inputs[0].tolist() if i]
    assert written(known, ids) == " ".join(data.words[i] for i in ids)
