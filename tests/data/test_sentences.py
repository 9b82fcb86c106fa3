"""Sentences of one's own, as a text file or as a table."""

import json

import numpy as np
import pytest

from cutlayer.data.load import load
from cutlayer.data.splits import NO_CLASS, PARTS
from cutlayer.data.text import Tokenizer
from cutlayer.data.vocabulary import counted
from cutlayer.errors import DataError
from cutlayer.registry import DATASETS
from cutlayer.sequences import lengths

TEXTS = [f"The patient in room {k} has a fever, since {k % 7} days." for k in range(24)]
TABLE = "Text,Label\n" + "".join(f'"{text}",{("ill", "well")[k % 2]}\n' for k, text in enumerate(TEXTS))


@pytest.fixture
def mine(tmp_path):
    def write(name: str, text: str) -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return write


def test_each_line_of_a_text_is_a_sentence_and_none_is_in_two_parts(mine):
    data = load(mine("mine.txt", "\n".join([*TEXTS, "", "  ", *TEXTS[:3]])))
    read = Tokenizer(data.tokenizer, "here").read
    found = [{read(ids) for ids in part.inputs} for part in data.parts.values()]
    assert sum(len(part) for part in data.parts.values()) == len(TEXTS) + 3
    assert sum(map(len, found)) == len(set().union(*found)) == len(TEXTS)
    assert read(data.train.inputs[0]).startswith("the patient in room")
    assert data.classes == ()
    assert all((getattr(data, part).labels == NO_CLASS).all() for part in PARTS)
    assert (data.modality.name, data.input.shape) == ("tokens", (32,))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_with_a_column_text_has_labelled_sentences(mine, delimiter):
    table = "\ufeff" + TABLE.replace('",', f'"{delimiter}').replace("Text,", f"Text{delimiter}")
    data = load(mine("mine.csv", table))
    assert data.classes == ("ill", "well")
    for part in data.parts.values():
        assert np.bincount(part.labels, minlength=2).min() > 0
        for ids, label in zip(part.inputs, part.labels, strict=True):
            room = int(Tokenizer(data.tokenizer, "here").read(ids).split()[4])
            assert data.classes[label] == ("ill", "well")[room % 2]


def test_the_tokens_are_those_of_the_model_and_as_many_as_are_asked_for(mine):
    spoken = Tokenizer(counted(["the patient has a fever"]), "another")
    data = load(mine("mine.txt", "\n".join(TEXTS)), shape=(6,), tokenizer=spoken)
    assert data.words == spoken.words
    assert (lengths(data.train.inputs) == 6).all()
    assert data.notes == (f"24 of 24 sentences of {data.name} are cut off after 6 tokens.",)


def test_who_types_the_name_of_padding_has_said_nothing():
    tokenizer = Tokenizer(counted(["the patient has a fever"]), "here")
    assert tokenizer.ids(["[PAD] the [PAD] fever"], 6).tolist() == tokenizer.ids(["the fever"], 6).tolist()
    assert (tokenizer.ids(["the fever"], 6)[0] > 0).tolist() == [True, True, False, False, False, False]


def test_a_file_is_data_by_its_name_alone():
    assert DATASETS.is_path("mine.txt")
    assert DATASETS.is_path("mine.csv")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("mine.txt", "\n \n", "holds no sentences; write one in each line.$"),
        ("mine.csv", "text,label\n", "holds no sentences; write one in each line below the first"),
        ("mine.csv", "text,label\n" + "a,b,c\n" * 9, "has 3 cells in row 1, .* in quotes where it has a comma"),
        ("mine.csv", "text,label\n,b\n" * 9, "has no text in row 1"),
        ("mine.csv", "text,label,class\n" + "a,b,c\n" * 9, "at most one of the classes"),
        ("mine.csv", "text,label\n" + "a word,ill\n" * 9, "names 1 classes in its rows; 2 to 256"),
    ],
)
def test_what_is_no_text_is_refused(mine, name, content, message):
    with pytest.raises(DataError, match=message):
        load(mine(name, content))


@pytest.mark.parametrize("content", ["one\n\ntwo\n", "the same sentence\n" * 20])
def test_too_few_sentences_for_several_parts_are_all_in_one(mine, content):
    data = load(mine("mine.txt", content))
    assert data.alone
    with pytest.raises(DataError, match=r"holds \d+ sentences, too few, .* \(train, auxiliary, private\). A device"):
        data.check_full()


def test_a_text_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_bytes("fiévre\n".encode("latin-1") * 9)
    with pytest.raises(DataError, match=r"no UTF-8; save it as UTF-8"):
        load(str(tmp_path / "mine.txt"))


def test_sentences_have_no_size_of_an_image(mine):
    with pytest.raises(DataError, match="3x8x8 is no greatest length"):
        load(mine("mine.txt", "\n".join(TEXTS)), shape=(3, 8, 8))


def test_a_word_outside_the_vocabulary_is_an_id_to_the_model_and_nothing_to_the_floor_and_the_metrics():
    spoken = Tokenizer(counted([*TEXTS, "xyzzy . "]), "here")
    ids = spoken.ids(["the quux patient", "quux quux quux"], 4)
    unknown = spoken.words.index("[UNK]")
    assert ids.tolist() == [[spoken.words.index("the"), unknown, spoken.words.index("patient"), 0], [unknown] * 3 + [0]]
    assert spoken.modality.unmarked(ids)[:, 1].tolist() == [0, 0]
    assert unknown not in spoken.modality.floor(ids)
    assert spoken.modality.floor(ids)[0] in ids[0]


@pytest.mark.parametrize(
    ("model", "unknown"),
    [
        ({"type": "BPE", "unk_token": "<unk>", "vocab": {"a": 0, "<unk>": 1}}, 2),  # all ids are greater by one
        ({"type": "Unigram", "unk_id": 1, "vocab": [["<pad>", 0.0], ["<unk>", 0.0], ["a", -1.0]]}, 1),
        ({"type": "BPE", "unk_token": None, "vocab": {"a": 0, "b": 1}}, None),
        ({"type": "BPE", "vocab": {"a": 0, "b": 1}}, None),
    ],
)
def test_the_file_of_a_tokenizer_says_which_token_stands_for_an_unknown_word(model, unknown):
    assert Tokenizer(json.dumps({"model": model}), "here").unknown == unknown
