"""The page of a phone in a room of sentences, in Chromium: tokens, tensors and privacy as on a device in Python."""

import base64
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from cutlayer.data.documentation import LENGTH, PACKAGES, own_tokenizer, sentences
from cutlayer.data.text import Tokenizer
from cutlayer.defenses.base import deployed
from cutlayer.edge.pipeline import Pipeline
from cutlayer.edge.wishes import Wish
from cutlayer.errors import CutlayerError
from cutlayer.live.serve import open_room
from cutlayer.live.tokens import Tokens
from cutlayer.models.packaged import folder_of
from cutlayer.sequences import PAD
from cutlayer.spec import token_spec
from cutlayer.split_folder import open_split
from cutlayer.wire.codecs.packed import codec_named
from tests.browser import barriers, errors
from tests.live.browser.page import text, until
from tests.live.browser.test_phone import PHONE, WAIT_S, device, frame, injected, trouble, waited
from tests.live.open_app import open_app
from tests.text_split import write_text_split

READY = "document.getElementById('said')?.disabled === false"
SENTENCE = "Return the value of the name, naïve café."
AWKWARD = [
    "", " ", "\t\n", "\x00\x01\x7f", "Ünïcödé naïve CAFÉ e\u0301 n\u0303 A\u030aB", "\u0301 leading",
    "İstanbul ISPARTA ıI ſ K Å", "straße STRASSE ẞ ﬁ ½ ² Ⅷ ǅ", "ΟΔΟΣ Σίσυφος ΣΑΣ", "😀 👩\u200d👩\u200d👧 🇩🇪 done",
    "中文字符 mixed 日本語かな 한국어", "𠀀𠀁 beyond 𪜀 two units", "a\x00b\x01c\x7fd\x85e\u200bf\ufeffg",
    "tab\tnew\nline\r\nx\xa0y\u2028z\u3000w", "x" * 300, "word " * 100, "pneumono" * 20,
    "[PAD] [UNK] [CLS] [SEP] [MASK]", "[pad] the[UNK]value [SEP]end", "don't can't it's",
    "foo_bar __init__ a.b.c(d)[e]{f}", "1,234.56 €5 100%", "the\xadsoft “quotes” ‘x’ – — … •",
    "अनुच्छेद ทดสอบ עברית العربية", "\ue000 \U0010ffff \ufffd \uffff", "constructor __proto__ toString",
]  # fmt: skip
TOKENS = """
const [token, texts, shift, done] = arguments;
Promise.all([import("/static/head.js"), import("/static/tokens.js")]).then(async ([head, tokens]) => {
  const split = await head.openSplit(token);
  const made = await tokens.openTokens(split, { shift, probes: [] });
  done(texts.map((text) => made(text).ids));
}).catch((error) => done(String(error)));
"""
RECORD = """
globalThis.left = [];
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (data) {
  left.push(typeof data === "string" ? data : [...data]);
  send.call(this, data);
};
const fetching = globalThis.fetch;
globalThis.fetch = (...words) => { left.push(JSON.stringify(words)); return fetching(...words); };
"""


def page(driver, room):
    driver.get(room.phone)
    until(driver, READY)


def type_(driver, words):
    driver.find_element("id", "said").send_keys(words)


def of_length(n):
    return lambda one: one.frame.smashed.shape[1] == n


def word_pieces():
    """The parts of BERT's tokenizers, with a small vocabulary."""
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(sentences()[0], trainers.WordPieceTrainer(vocab_size=900, special_tokens=marks))
    made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return made.to_str()


def byte_pairs():
    """The parts of GPT-2's tokenizer, whose id 0 is a token."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.train_from_iterator(
        sentences()[0], trainers.BpeTrainer(vocab_size=900, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    )
    made.post_processor = processors.ByteLevel(trim_offsets=False)
    return made.to_str()


def minilm():
    """The tokenizer of all-MiniLM-L6-v2, from its package or from the folder that MINILM names."""
    try:
        folder = Path(os.environ["MINILM"]) if "MINILM" in os.environ else folder_of("all-minilm-l6-v2")
    except CutlayerError as error:
        pytest.skip(str(error))
    return (folder / "tokenizer.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("which", [own_tokenizer, word_pieces, byte_pairs, minilm])
def test_the_browser_makes_the_tokens_that_python_makes(which, text_runtime, browse, tmp_path):
    write_text_split(tmp_path, tokenizer=which(), width=2)
    texts = [*AWKWARD, *sentences()[0][::11]]
    assert len(texts) > 400
    with open_app(tmp_path) as room:
        driver = browse(**PHONE)
        page(driver, room)
        tokenizer, length = room.split.tokenizer, room.split.manifest.input.shape[0]
        made = driver.execute_async_script(TOKENS, room.tokens.join, texts, tokenizer.shift)
        assert isinstance(made, list), made
        for text_, own, ids in zip(texts, made, tokenizer.ids(texts, length), strict=True):
            assert own == [int(i) for i in ids if i != PAD], text_


def test_a_tokenizer_of_which_a_browser_makes_other_tokens_is_refused_by_the_names_of_its_parts(
    text_runtime, browse, tmp_path
):
    unknown, other = json.loads(own_tokenizer()), json.loads(own_tokenizer())
    unknown["pre_tokenizer"] = {"type": "UnicodeScripts"}
    other["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"String": "e"},
        "behavior": "MergedWithNext",
        "invert": False,
    }
    said = {
        "unknown": "A browser cannot make the tokens of this room: Unknown PreTokenizer type: UnicodeScripts",
        "other": "A browser makes other tokens than this room's tokenizer (Lowercase, Split, WordLevel)",
    }
    for name, content in (("unknown", unknown), ("other", other)):
        write_text_split(tmp_path / name, tokenizer=json.dumps(content), width=2)
        with open_app(tmp_path / name) as room:
            driver = browse(**PHONE)
            driver.get(room.phone)
            until(driver, "document.getElementById('trouble').innerText.includes('cutlayer edge --join')")
            assert trouble(driver).startswith(said[name])
            assert not driver.find_element("id", "said").is_enabled()


def write_transformer(path):
    """A transformer that nobody trained, cut behind its first block and exported with an axis for the length."""
    pytest.importorskip("torch")
    from cutlayer.models import folder, zoo
    from cutlayer.models.halves import split
    from cutlayer.models.start import Start

    tokenizer = Tokenizer(own_tokenizer(), "documentation")
    input = token_spec(LENGTH, tokenizer.size)
    model = zoo.build("text_transformer", input, len(PACKAGES), 0, Start())
    folder.save(
        path / "split", split(model, "block1", input), model="text_transformer", classes=len(PACKAGES),
        defense={"name": "none"}, data="documentation", tokenizer=tokenizer.text,
    )  # fmt: skip
    return path / "split"


def write_table(path):
    write_text_split(path)
    return path


def sent(room, text_, wish=None, seed=0):
    """What a device in Python sends of a text."""
    split, wish = room.split, wish or Wish()
    defense = deployed(split).then(wish.make()) if wish.strength else deployed(split)
    pipeline = Pipeline(split.head(), defense, codec_named(wish.codec), split.manifest.input.shape[0])
    ids = split.tokenizer.ids([text_], split.manifest.input.shape[0])
    released = pipeline.release(ids, np.random.default_rng(seed))
    return codec_named(wish.codec).decode(released.encoded)


@pytest.mark.parametrize("write", [write_table, pytest.param(write_transformer, marks=pytest.mark.slow)])
def test_a_sentence_leaves_the_phone_as_it_leaves_a_python_device(write, text_runtime, browse, tmp_path):
    """It leaves in its own length, undefended and behind what the room wishes; what a browser cannot do is refused."""
    with open_app(write(tmp_path)) as room:
        driver = browse(**PHONE)
        page(driver, room)
        type_(driver, SENTENCE)
        plain = sent(room, SENTENCE)
        first = frame(room, of_length(plain.shape[1]))
        np.testing.assert_allclose(first.frame.smashed, plain, rtol=0, atol=1e-5 * np.abs(plain).max())
        assert first.frame.wish == Wish()
        assert first.original is None, "the consent is off until it is given"

        shown = driver.execute_script(
            "return [...document.querySelectorAll('#tokens span')].map((one) => one.innerText)"
        )
        words = room.split.tokenizer.words
        assert shown == [words[i] for i in room.split.tokenizer.ids([SENTENCE], plain.shape[1])[0]]
        assert "[UNK]" in shown

        id = device(room)["id"]
        noisy = Wish("gaussian-noise", {"sigma": 2.0})
        room.room.wish(id, noisy)
        noise = frame(room, lambda one: one.frame.wish == noisy).frame.smashed - plain
        assert abs(noise.mean()) < 5 * 2 / noise.size**0.5
        assert abs(noise.std() / 2 - 1) < 5 / (2 * noise.size) ** 0.5
        until(driver, "document.getElementById('defense').innerText === 'gaussian noise, sigma 2'")
        for wish in (
            Wish("top-k", {"sparsity": 0.9}, "int8"),
            Wish("quantize", {"bits": 3.0}, "fp16"),
            Wish(codec="top-k"),
        ):
            room.room.wish(id, wish)
            told = replace(wish, codec="raw")
            arrived = frame(room, lambda one, told=told: one.frame.wish == told)
            off = 2e-5 * np.abs(plain).max() + np.ptp(plain) / 255  # of int8, one level
            np.testing.assert_allclose(arrived.frame.smashed, sent(room, SENTENCE, wish), rtol=0, atol=off)

        room.room.wish(id, Wish("dropout", {"rate": 0.5}))
        refused = waited(lambda: device(room)["refused"])
        assert refused.startswith("A browser cannot compute dropout")
        assert text(driver, "#refused") == refused

        words = "value " * 40
        driver.find_element("id", "clear").click()
        type_(driver, words)
        frame(room, of_length(LENGTH))
        assert text(driver, "#cut") == "Only the first 32 of 40 tokens are sent; this network takes no more."
        assert driver.execute_script("return document.querySelectorAll('#tokens span').length") == LENGTH
        assert driver.execute_script("return document.documentElement.scrollWidth") <= PHONE["width"]
        assert barriers(driver) == []
        assert errors(driver) == []


def test_no_letter_leaves_the_phone_before_its_user_has_switched_that_on(text_runtime, browse, tmp_path):
    write_text_split(tmp_path)
    with open_app(tmp_path) as room:
        driver = browse(**PHONE)
        with injected(driver, RECORD):
            page(driver, room)
        said, secret = driver.find_element("id", "said"), "coroutine waits for the exception"
        assert (said.get_attribute("spellcheck"), said.get_attribute("autocomplete")) == ("false", "off")
        type_(driver, " ,")
        driver.find_element("id", "clear").click()
        type_(driver, "\n ")
        assert driver.execute_script("return left.filter((one) => typeof one !== 'string').length") <= 1, "the comma"
        type_(driver, secret)
        frame(room, of_length(5))
        ids = room.split.tokenizer.ids([secret], 5)[0].astype("<i4").tobytes()
        left = driver.execute_script("return left")
        texts = [one for one in left if isinstance(one, str)]
        binary = [bytes(one) for one in left if not isinstance(one, str)]
        assert len(binary) > 1
        for word in ("corout", "waits", "except"):
            assert not any(word in one for one in texts), word
            assert not any(word.encode() in one for one in binary), word
        assert not any('"original"' in one or base64.b64encode(ids).decode() in one for one in texts)
        assert not any(ids in one for one in binary)

        driver.find_element("id", "share").click()
        shared = frame(room, lambda one: one.original is not None)
        np.testing.assert_array_equal(shared.original[:5], room.split.tokenizer.ids([secret], 5)[0])
        assert device(room)["shares_original"]
        texts = [one for one in driver.execute_script("return left") if isinstance(one, str)]
        assert sum(base64.b64encode(ids).decode() in one for one in texts) == 1
        driver.find_element("id", "share").click()
        waited(lambda: not device(room)["shares_original"])
        assert frame(room).original is None
        assert errors(driver) == []


def test_what_has_no_token_is_not_sent_and_that_is_said(text_runtime, browse, tmp_path):
    write_text_split(tmp_path, tokenizer=word_pieces(), width=4)
    with open_app(tmp_path) as room:
        driver = browse(**PHONE)
        page(driver, room)
        driver.execute_script(
            "const said = document.getElementById('said');"
            "said.value = '\\u200b\\u0001'; said.dispatchEvent(new Event('input'))"
        )
        assert text(driver, "#cut") == "This has no token; type words."
        type_(driver, "the")
        arrived = frame(room)
        assert arrived.frame.smashed.shape == (1, 3, 4), "with the marks before and behind it"
        assert text(driver, "#cut") == ""


def test_a_phone_that_was_away_sends_the_sentence_again(text_runtime, browse, tmp_path):
    write_text_split(tmp_path)
    tokens, driver = Tokens(), browse(**PHONE)
    with open_app(tmp_path, tokens=tokens) as room:
        port = room.web.address.port
        page(driver, room)
        type_(driver, "the value")
        frame(room, of_length(2))
    until(driver, "document.getElementById('state').dataset.state === 'lost'")
    type_(driver, " of")
    with open_app(tmp_path, tokens=tokens, port=port) as room:
        frame(room, of_length(3))


def test_the_big_screen_shows_word_by_word_what_the_server_reads_of_what_a_phone_types(text_runtime, browse, tmp_path):
    """And no longer does once the room has told the phone to add noise."""
    write_text_split(tmp_path / "split")
    screen, phone = browse(), browse(**PHONE)
    with open_room(open_split(tmp_path / "split"), "documentation", out=tmp_path, attackers=("token-ridge",)) as room:
        screen.get(room.screen)
        page(phone, room)
        phone.find_element("id", "share").click()
        for keys, said in (("Return", "return"), (" the value", "return the value")):
            type_(phone, keys)
            for selector in (".saw .sentence", ".reading .sentence"):
                until(screen, f"document.querySelector('.card {selector}')?.innerText === '{said}'", WAIT_S)
        assert text(screen, ".card .kind") == "phone"
        assert text(screen, ".leak").split() == ["100", "%", "read,", "3", "of", "3", "tokens"]
        [id] = room.room._devices
        room.room.wish(id, Wish("gaussian-noise", {"sigma": 10.0}))
        until(screen, "document.querySelector('.card .reading .sentence s')", WAIT_S)
        phone.find_element("id", "share").click()
        until(screen, "document.querySelector('.card .reading .leak').innerText === 'not scored'", WAIT_S)
        assert text(screen, ".saw .kept") == "The sentence stays on the device."
        assert errors(phone) == errors(screen) == []
