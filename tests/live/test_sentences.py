"""A room of sentences: what a page is told of what devices say, and of what attackers read."""

import contextlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from cutlayer.commands.live import live
from cutlayer.data.load import load
from cutlayer.data.text import Tokenizer
from cutlayer.data.vocabulary import counted
from cutlayer.edge import typed
from cutlayer.edge.joined import join
from cutlayer.errors import ConfigError
from cutlayer.live.prepare import check_attackers, usual_attackers
from cutlayer.live.serve import open_room
from cutlayer.live.showing import Sentences
from cutlayer.models.manifest import TOKENIZER
from cutlayer.sequences import PAD
from cutlayer.split_folder import open_split
from tests.live.rooms import Page, ask, introduced, tiny_room, write_room
from tests.live.test_joined import device, present
from tests.text_split import write_text_split

SENTENCE = "return the value of the name"
TYPED = {"data": None, "text": [SENTENCE]}


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sentences")
    write_text_split(folder / "split")
    with open_room(
        open_split(folder / "split"), "documentation", out=folder / "out", attackers=("token-ridge",)
    ) as opened:
        yield opened


@contextlib.contextmanager
def reading(opened):
    """A page, when the attackers have learned."""
    with Page(opened) as page:
        page.until(lambda message: message["type"] == "room" and any(one["ready"] for one in message["attackers"]))
        yield page


def frames(page, found):
    return page.until(lambda message: message["type"] == "frame" and message["rebuilt"] and found(message))


def test_a_page_is_told_what_was_said_and_what_is_read_token_by_token(opened, tmp_path):
    words = SENTENCE.split()
    with reading(opened) as page:
        # The device says it and leaves; what it said is attacked behind that.
        with waiting(opened, tmp_path, share_original=True, name="shares"):
            frame = frames(page, lambda frame: frame["original"] and len(frame["original"]) == len(words))
        assert frame["original"] == [[word, False] for word in words]
        (read,) = frame["rebuilt"]
        assert read["attacker"] == "token-ridge"
        assert [text for text, _, _ in read["tokens"]] == words
        assert (read["right"], read["of"]) == (len(words), len(words))


def test_a_word_that_the_vocabulary_lacks_is_shown_and_is_not_counted_as_read():
    spoken = Tokenizer(counted(["the value of the name"]), "here")
    said = spoken.ids(["the xylophone value quux"], 5)[0]
    showing = Sentences(spoken.words)
    guess = said.copy()
    guess[3] = said[0]
    read = showing.made("token-ridge", guess, said, 5)
    assert [(text, right) for text, _, right in read.tokens] == [
        ("the", True), ("[UNK]", None), ("value", True), ("the", False)
    ]  # fmt: skip
    assert (read.right, read.of, read.unknown) == (2, 2, 2)
    unshared = showing.made("token-ridge", guess, None, 4)
    assert (unshared.right, unshared.of, unshared.unknown) == (None, 4, 0)


def test_who_shares_nothing_is_read_and_not_scored(opened, tmp_path):
    with reading(opened) as page, waiting(opened, tmp_path, name="keeps"):
        frame = frames(page, lambda frame: frame["original"] is None)
        (read,) = frame["rebuilt"]
        assert [text for text, _, _ in read["tokens"]] == SENTENCE.split()
        assert {right for _, _, right in read["tokens"]} == {None}
        assert read["right"] is None


def test_noise_hides_tokens_and_the_same_sentence_is_sent_again_behind_it(opened, tmp_path):
    with reading(opened) as page, waiting(opened, tmp_path, share_original=True, name="hides"):
        shown = frames(page, lambda frame: frame["rebuilt"][0]["right"] == len(SENTENCE.split()))
        page.wish(shown["id"], "gaussian-noise", sigma=10)
        frames(page, lambda frame: frame["id"] == shown["id"] and frame["rebuilt"][0]["right"] < 3)


def test_a_sentence_of_the_list_is_named_when_it_is_whole(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(typed, "HOLD_S", 30.0)
    data = load("documentation")
    first = [data.words[i] for i in data.test.inputs[0] if i != PAD]
    with reading(opened) as page, present(opened, tmp_path, data="documentation", name="reads", share_original=True):
        grown = frames(page, lambda frame: frame["original"] and len(frame["original"]) > 1)
        assert grown["original"] == [[word, False] for word in first[: len(grown["original"])]]
        named = frames(page, lambda frame: frame["candidate"] is not None)["candidate"]
        assert (named["index"], named["rank"], named["sure"]) == (0, 1, True)
        assert named["sentence"] == " ".join(first)


@contextlib.contextmanager
def waiting(opened, folder, **options):
    """A device that says one sentence, and stays."""
    with present(opened, folder, **TYPED, **options):
        yield


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "4 bytes for each of 1 to 32 tokens, 0 were sent"),
        (b"abc", "3 were sent"),
        (np.full(1, 2048, "<i4").tobytes(), "from 0 to 2,047"),
        (np.full(1, -1, "<i4").tobytes(), "from 0 to 2,047"),
        (np.ones(33, "<i4").tobytes(), "At most 128 bytes"),
    ],
)
def test_what_is_no_sentence_is_refused(opened, body, why):
    _, _, said = ask(opened, "POST", "/device", introduced("strange", share_original=True))
    status, _, answer = ask(opened, "POST", f"/device/{said['id']}/original", body=body, headers={"X-Frame": "0"})
    assert status in (400, 413)
    assert why in answer["error"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"data": None, "camera": "0"}, "reads sentences; type them with --text"),
        ({"text": ["a"]}, "exclude each other; name one of them"),
        ({"data": "digits"}, "digits has none; type them with --text"),
    ],
)
def test_a_device_that_has_no_sentences_is_told_so(opened, tmp_path, options, why):
    thread, errors = device(opened, tmp_path, **{"data": "documentation", **options})
    thread.join(60)
    assert len(errors) == 1
    assert why in str(errors[0])


def test_a_room_of_pictures_takes_no_text(tmp_path):
    write_room(tmp_path)
    with tiny_room(tmp_path) as opened, pytest.raises(ConfigError, match="takes pictures; name what to send"):
        join(opened.code, text=["a"], name="typist")


def test_attackers_are_those_of_the_kind_of_input(opened, tmp_path):
    manifest = opened.room.manifest
    check_attackers(manifest, usual_attackers(manifest))
    with pytest.raises(ConfigError, match=r"ridge does not read sentences; choose from .*token-ridge"):
        check_attackers(manifest, ["ridge"])
    write_room(tmp_path)
    pictures = open_split(tmp_path / "split").manifest
    with pytest.raises(ConfigError, match=r"token-ridge does not rebuild images; choose from .*ridge"):
        check_attackers(pictures, ["token-ridge"])


def test_the_command_that_is_printed_joins_with_text_and_phones_are_named_too(tmp_path, capsys, monkeypatch):
    class Ready(Exception):
        pass

    def begin():
        raise Ready

    @contextlib.contextmanager
    def opened(*_, **__):
        addresses = {"screen": "http://here/s", "phone": "http://here/p", "code": "cut-code", "local": True}
        yield SimpleNamespace(**addresses, runtime=SimpleNamespace(begin=begin))

    monkeypatch.setattr("cutlayer.live.serve.open_room", opened)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    write_text_split(tmp_path / "split")
    with pytest.raises(Ready):
        live(tmp_path / "split", out=tmp_path / "out")
    told = capsys.readouterr().out
    assert "devices  cutlayer edge --join 'cut-code' --text\n" in told
    assert "phones   http://here/p\n" in told


def test_a_split_without_its_tokenizer_is_refused(tmp_path):
    write_text_split(tmp_path / "split")
    manifest = open_split(tmp_path / "split").manifest
    files = {name: digest for name, digest in manifest.files.items() if name != TOKENIZER}
    replace(manifest, files=files).save(tmp_path / "split")
    room = open_room(open_split(tmp_path / "split"), "documentation", out=tmp_path / "out", attackers=())
    with pytest.raises(ConfigError, match=r"holds no tokenizer\.json"), room:
        pass
