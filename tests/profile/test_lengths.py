"""Sentences of several lengths: what each costs, and which models have none."""

import json

import numpy as np
import pytest

from cutlayer.data.load import load
from cutlayer.errors import ConfigError
from cutlayer.profile.lengths import sentence_spec, stream
from cutlayer.profile.plan import Plan, token_counts
from cutlayer.profile.prepare import prepare
from cutlayer.records.profile_files import read
from cutlayer.sequences import PAD
from cutlayer.spec import token_spec
from cutlayer.split_folder import open_split
from tests.browser import barriers, errors
from tests.command import cutlayer
from tests.profile.profiled import QUICK
from tests.text_split import WIDTH, write_text_split
from tests.tiny_split import write_split


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lengths")
    write_text_split(folder / "split")
    return folder


@pytest.fixture(scope="module")
def profiled(folder):
    out = folder / "profile"
    words = "--tokens", "16,4", "--data", "documentation", "--network", "loopback,4mbit/5ms", "--out", out
    done = cutlayer("profile", folder / "split", *QUICK, *words)
    assert done.returncode == 0, done.stderr
    return out, done.stdout, read(out)


def test_each_length_has_its_bytes_and_its_times(profiled):
    _, stdout, profile = profiled
    (cut,) = profile.cuts
    four, sixteen = cut.lengths
    assert [one.tokens for one in cut.lengths] == [4, 16]
    for one in cut.lengths:
        assert one.bytes == 4 * WIDTH * one.tokens
        assert one.bytes < one.message_bytes["raw"] < one.bytes + 500
        assert one.message_bytes["int8"] < one.bytes
        assert one.n >= 90
        assert min(one.head_ns, *one.end_to_end_ns.values()) > 0
        # What crosses a slow line takes at least its time, and the round trip.
        least_ns = 8e9 * one.message_bytes["raw"] / 4e6 + 5e6
        assert least_ns < one.networks_ns["4mbit/5ms"]["raw"] < least_ns + 1e9
    # 12,288 bytes more, less what the medians of the machine's own time may differ by.
    assert sixteen.networks_ns["4mbit/5ms"]["raw"] > four.networks_ns["4mbit/5ms"]["raw"] + 8e9 * 10_000 / 4e6
    lines = [line.split() for line in stdout.splitlines()]
    assert [line[:3] for line in lines if line[:1] == ["vectors"]][1:3] == [
        ["vectors", "4", f"{four.bytes:,}"], ["vectors", "16", f"{sixteen.bytes:,}"],
    ]  # fmt: skip
    assert "64 documentation sentences of at most 32 tokens" in stdout


def test_the_page_shows_the_lengths(profiled, browse):
    out, _, _ = profiled
    driver = browse(width=390)
    driver.get((out / "profile.html").as_uri())
    said = "return [...document.querySelectorAll('section')].find(one => one.innerText.includes('Sentences of each'))"
    assert driver.execute_script(said + ".querySelectorAll('tbody tr').length") == 2
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
    assert barriers(driver) == []
    assert errors(driver) == []


def test_a_record_without_lengths_says_nothing_of_them(profiled):
    out, _, _ = profiled
    stored = json.loads((out / "profile.json").read_text())
    del stored["cuts"][0]["lengths"]
    (out / "profile.json").write_text(json.dumps(stored))
    assert read(out).cuts[0].lengths == ()


def test_sentences_are_joined_to_those_of_one_length():
    sentences = np.array([[5, 6, PAD], [7, PAD, PAD], [8, 9, 4]])
    assert stream(sentences, 4, 2).tolist() == [[5, 6, 7, 8], [9, 4, 5, 6]]


@pytest.mark.slow
def test_the_halves_of_a_text_model_by_name_take_shorter_sentences(tmp_path):
    found = prepare(
        "text_transformer", ("embedding",), token_spec(12, 50), tmp_path, classes=3, data=None, say=lambda _: None,
        tokenizer=load("documentation").tokenizer,
    )  # fmt: skip
    (candidate,) = found
    assert (candidate.cut, candidate.shape) == ("embedding", (12, 128))
    split = open_split(candidate.folder)
    assert split.manifest.length == 12
    assert split.tokenizer is not None
    assert split.tail()(split.head()(np.array([[1, 2, 3]]))).shape == (1, 3)


@pytest.mark.parametrize("text", ["", "16,,64", "0", "16,16", "many", "-4", "65537", "1.5"])
def test_what_is_no_length_is_refused(text):
    with pytest.raises(ConfigError):
        token_counts(text)


def test_lengths_that_a_model_does_not_take_are_refused(folder, tmp_path):
    write_split(tmp_path / "pictures")
    (tmp_path / "net.onnx").write_bytes(b"")
    for model, why in (
        (folder / "split", "--tokens names 64, and the head of .* takes at most 32 tokens"),
        (tmp_path / "pictures", "takes 1x6x6, no sentences"),
        (tmp_path / "net.onnx", "goes with a model by name, or with the split folder of a text model"),
        ("vgg11_slim", "takes sentences, and vgg11_slim takes 3x32x32"),
    ):
        with pytest.raises(ConfigError, match=why):
            sentence_spec(Plan(str(model), tokens=(16, 64)))
    assert sentence_spec(Plan("text_transformer", tokens=(16, 64))) == token_spec(64, 2048)
    assert sentence_spec(Plan("text_transformer")) is None


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--connect", "grpc://127.0.0.1:1"], "measures with a server on this machine; leave out --connect"),
        (["--input", "3x8x8"], "states what the model takes; leave out --input"),
    ],
)
def test_options_that_do_not_go_with_lengths_are_refused(folder, tmp_path, words, why):
    done = cutlayer("profile", folder / "split", "--tokens", "4", "--out", tmp_path / "out", *words)
    assert done.returncode == 2
    assert why in done.stderr
    assert not (tmp_path / "out/cuts").exists()
