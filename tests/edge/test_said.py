"""Sentences that are given or come on standard input: each sent once, over the wire, and answered in words."""

import io
import re
import sys
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from cutlayer.attacks.view import SMASHED
from cutlayer.cloud import tap
from cutlayer.cloud.service import Service
from cutlayer.cloud.tap import Tap
from cutlayer.data.documentation import PACKAGES
from cutlayer.data.load import load
from cutlayer.edge.frames import Frame, Planned, Sent
from cutlayer.edge.said import Said, in_words
from cutlayer.edge.send import _splits, send
from cutlayer.errors import ConfigError, DataError
from cutlayer.experiment.recorded import read_tap, read_truth
from cutlayer.split_folder import open_split
from cutlayer.wire.connect import listen
from tests.text_split import write_text_split
from tests.tiny_split import ADDRESSES, PATIENCE, write_split

SENTENCES = ["Return the type of a generic alias.", "The event loop waits for a coroutine."]


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text") / "split"
    write_text_split(folder)
    return open_split(folder)


def typed(monkeypatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: False))


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_each_sentence_is_sent_once_and_answered_with_the_names_of_classes(split, transport, capsys):
    tail = split.tail()
    server = listen(ADDRESSES[transport], Service(split.manifest, tail, None), PATIENCE)
    with closing(server):
        summary = send(split.path, str(server.address), text=SENTENCES, warmup=2)
    lines = [line for line in capsys.readouterr().out.splitlines() if re.match(r"\d+ tokens[:,] ", line)]
    head, spoken = split.head(), split.tokenizer
    for line, sentence in zip(lines, SENTENCES, strict=True):
        ids = spoken.ids([sentence], 32)
        best = list(PACKAGES)[int(tail(head(ids)).argmax())]
        lacking = np.count_nonzero(ids == spoken.words.index("[UNK]"))
        note = f", {lacking} of them not in the vocabulary" if lacking else ""
        assert line.startswith(f"{np.count_nonzero(ids)} tokens{note}: {best} ")
    assert (summary.n, summary.n_labelled) == (2, 0)
    assert re.search(r"^bytes up: median tensor [\d,]+, median message [\d,]+, mean by the kernel ", str(summary), re.M)


def test_a_tap_holds_what_was_said_alone_and_the_record_is_its_truth(split, tmp_path):
    kept = Tap(tmp_path / "tap")
    service = Service(split.manifest, split.tail(), kept)
    with closing(kept), closing(listen(ADDRESSES["grpc"], service, PATIENCE)) as server:
        send(split.path, str(server.address), text=SENTENCES, record=tmp_path / "first.npz")
        assert len(list(tap.read(tmp_path / "tap"))) == len(SENTENCES)
        # Other requests of the same tap, warm-ups among them, are not those of this record.
        send(split.path, str(server.address), text=SENTENCES[::-1], warmup=2, record=tmp_path / "record.npz")
    ids = split.tokenizer.ids(SENTENCES[::-1], 32)
    truth = read_truth(tmp_path / "record.npz")
    seen, _, _ = read_tap(tmp_path / "tap", split.manifest, truth=truth)
    np.testing.assert_array_equal(seen[SMASHED], split.head()(ids)[None])
    data = truth.of(load("documentation"), len(ids))
    np.testing.assert_array_equal(data.private.inputs, ids)
    assert truth.of(load("documentation"), 1).private.inputs.shape == (1, 32)


def test_a_record_of_more_sentences_than_requests_is_refused(tmp_path):
    nothing = np.zeros(2, np.int64)
    of_places = {"id": np.array(["a", "b"]), "part": nothing, "image": nothing, "release": nothing, "labels": nothing}
    np.savez(tmp_path / "record.npz", said=np.ones((3, 32), np.int64), **of_places)
    with pytest.raises(
        DataError, match=r"record.npz holds what was said as \(3, 32\), for 2 requests; record it again"
    ):
        read_truth(tmp_path / "record.npz")


def test_lines_of_standard_input_that_are_not_empty_are_sentences(split, monkeypatch):
    typed(monkeypatch, f"{SENTENCES[0]}\n\n  \nwhat \xe9 is".encode("latin-1") + b"\n" + SENTENCES[1].encode())
    said = Said(split, [])
    taken = [said.take(number) for number in range(4)]
    assert said.total is None
    read = split.tokenizer.read
    assert read(taken[0].image[0]) == read(split.tokenizer.ids(SENTENCES[:1], 32)[0])
    assert read(taken[1].image[0]).startswith("what")
    assert read(taken[2].image[0]) == read(split.tokenizer.ids(SENTENCES[1:], 32)[0])
    assert taken[3] is None


def test_a_long_sentence_is_cut_off_and_that_is_said(split):
    said = Said(split, ["word " * 60, "word " * 32])
    assert [said.take(number).image.shape for number in range(2)] == [(1, 32)] * 2
    assert said.note == "1 sentence was cut off after 32 tokens, the most that the head takes"


def test_an_answer_that_is_no_class_is_a_vector_or_the_next_token(split, monkeypatch):
    frame = Frame(Sent(0, 0, 0), split.tokenizer.ids(["word"], 32), -1)
    say = in_words(split, 0, None)
    assert say(frame, np.array([[3.0, 4.0]], np.float32)) == "1 token: 2 numbers 3.000 4.000 ..., length 5.000"
    half = frame._replace(image=split.tokenizer.ids(["xylophone word"], 32))
    assert say(half, np.zeros((1, 2), np.float32)).startswith("2 tokens, 1 of them not in the vocabulary: 2 numbers ")
    alone = frame._replace(image=split.tokenizer.ids(["xylophone"], 32))
    assert say(alone, np.zeros((1, 2), np.float32)).startswith("1 token, not in the vocabulary: 2 numbers ")
    logits = np.zeros((1, split.tokenizer.size), np.float32)
    logits[0, 7] = 5
    assert say(frame, logits).startswith(f"1 token: next {load('documentation').words[7]}, ")


def test_data_of_another_kind_are_refused_by_their_kind_before_anything_is_sent(split, tmp_path):
    write_split(tmp_path / "images")
    sentences = replace(load("documentation"), name="mine")
    with pytest.raises(ConfigError, match=r"mine has sentences of at most 32 tokens, and the head takes images of \dx"):
        send(tmp_path / "images", "grpc://127.0.0.1:1", data=sentences)
    with pytest.raises(ConfigError, match=r"digits has images of 1x8x8, and the head takes sentences of at most 32"):
        send(split.path, "grpc://127.0.0.1:1", data=load("digits"))


def test_a_device_sends_all_of_a_file_that_is_too_small_for_several_parts(split, tmp_path):
    few = tmp_path / "three.txt"
    texts = [*SENTENCES, "A socket is closed."]
    few.write_text("\n".join(texts) + "\n")
    frames = Planned(_splits(str(few), split, None, 0), None, 0, 1)
    sent = np.concatenate([frames.take(k).image for k in range(frames.total)])
    assert np.array_equal(sent, split.tokenizer.ids(texts, 32))
    assert frames.note == f"{few} holds too few sentences for several parts: all are sent, in their order."
    with pytest.raises(ConfigError, match="has only 0 private sentences; 1 were asked for"):
        Planned(_splits(str(few), split, None, 0), None, 1, 1)


def test_what_is_no_sentence_is_refused(split, tmp_path):
    with pytest.raises(DataError, match=r"The sentence '  ' has no token; write words"):
        Said(split, [SENTENCES[0], "  "])
    with pytest.raises(DataError, match=r"has no token"):
        Said(split, ["[PAD] [PAD]"])
    write_split(tmp_path / "images")
    with pytest.raises(DataError, match=r"images takes no sentences, or has no tokenizer; leave out --text"):
        Said(open_split(tmp_path / "images"), SENTENCES)
    with pytest.raises(ConfigError, match="--text takes the place of a data set"):
        send(split.path, "grpc://127.0.0.1:1", text=SENTENCES, data="documentation")
