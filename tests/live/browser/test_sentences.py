"""The big screen of a room of sentences: what is marked and counted, and a sentence typed in a real terminal."""

import os
import pty
import re
import subprocess
import sys

import pytest

from tests.browser import barriers, errors
from tests.live.browser.page import text, until
from tests.live.browser.scripted import device_message, room_message, scripted
from tests.live.browser.test_live import Live, ask, card
from tests.text_split import write_text_split

SPLIT = {
    "model": "text_transformer", "cut": "block1", "text": True, "input": [32], "smashed": [32, 128],
    "data": "documentation",
}  # fmt: skip
ATTACKERS = [
    {"name": name, "title": f"{name}: a map", "ready": True, "progress": 1.0, "words": "ready"}
    for name in ("token-ridge", "nearest-activation")
]
SAID = [["the", False], ["play", False], ["ing", True], [".", False]]
READ = [["the", False, True], ["stay", False, False], ["ing", True, True], ["", False, False]]


def frame(original, tokens, right, *, candidate=None, number=1, unknown=0, of=None):
    read = {"tokens": tokens, "right": right, "of": len(tokens) if of is None else of, "unknown": unknown}
    return {
        "type": "frame", "id": "d1", "frame": number, "original": original,
        "rebuilt": [{"attacker": one["name"], **read} for one in ATTACKERS], "candidate": candidate,
        "prediction": {"label": "email", "share": 0.5},
    }  # fmt: skip


@pytest.fixture(scope="module")
def room():
    with scripted() as room:
        yield room


def told(room, **changes):
    room.tell(**room_message(split=SPLIT, attackers=ATTACKERS, chosen=["token-ridge", "nearest-activation"]))
    room.tell(**device_message(**changes))


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_wrong_tokens_are_marked_and_right_ones_counted(room, browse, width, dark):
    room.hang_up()
    driver = browse(width=width, height=800, dark=dark)
    driver.get(room.address)
    told(room)
    room.tell(**frame(SAID, READ, 2))
    until(driver, "document.querySelector('.reading .leak strong')")
    assert text(driver, ".saw .sentence") == "the playing ."
    assert text(driver, ".reading .sentence").startswith("the staying")
    marked = "return [...document.querySelectorAll('.sentence s')].map(part => [part.textContent.trim(), part.title])"
    assert driver.execute_script(marked) == 2 * [["stay", "not what was said"], ["", "nothing was read here"]]
    line = "return getComputedStyle(document.querySelector('.sentence s')).textDecorationStyle"
    assert driver.execute_script(line) == "wavy"
    assert text(driver, ".leak").split() == ["50", "%", "read,", "2", "of", "4", "tokens"]
    assert text(driver, ".answer").split() == ["The", "server", "answers", "email", "50", "%"]
    assert "numbers leave the device for each token" in text(driver, "#split")
    wide = "return document.querySelector(arguments[0]).getBoundingClientRect().width"
    assert (
        driver.execute_script(wide, ".saw .sentence") == driver.execute_script(wide, ".reading .sentence") > width / 2
    )
    room.tell(**frame(SAID, READ, 2, number=2, unknown=2, of=2))
    counted = "100 % read, 2 of 2 tokens not counted: 2 words that the vocabulary lacks"
    until(driver, f"document.querySelector('.reading .leak').innerText.split(/\\s+/).join(' ') === '{counted}'")
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    assert barriers(driver) == []
    assert errors(driver) == []


def test_a_sentence_that_is_not_shared_is_read_and_not_scored(room, browse):
    room.hang_up()
    driver = browse()
    driver.get(room.address)
    told(room, shares_original=False)
    candidate = {"index": 3, "of": 200, "rank": None, "sure": True, "sentence": "the playing ."}
    room.tell(**frame(None, [[*token[:2], None] for token in READ], None, candidate=candidate))
    until(driver, "document.querySelector('.reading .leak')?.innerText === 'not scored'")
    assert text(driver, ".saw .kept") == "The sentence stays on the device."
    assert driver.execute_script("return document.querySelectorAll('.sentence s').length") == 0
    assert text(driver, ".verdict blockquote") == "the playing ."
    assert text(driver, ".verdict p").startswith("This is candidate 4 of 200.")
    assert not driver.execute_script("return document.querySelector('.verdict canvas').offsetParent")


def test_what_is_typed_in_a_terminal_is_shown_read_and_hidden_by_noise(tmp_path, browse):
    write_text_split(tmp_path / "split")
    with Live(tmp_path / "split", tmp_path / "out", attacks="token-ridge") as live:
        driver = browse()
        driver.get(live.page)
        until(driver, "document.querySelector('#welcome .command')")
        assert re.search(r"cutlayer edge --join '.*' --text$", text(driver, "#welcome .command"))
        keyboard, screen = pty.openpty()
        command = [sys.executable, "-m", "cutlayer.cli", "edge", "--join", live.code, "--text", "--share-original"]
        process = subprocess.Popen([*command, "--name", "typist"], stdin=screen, stdout=screen, stderr=screen)
        try:
            until(driver, card("typist"))
            for keys, said in ((b"return", "return"), (b" the value", "return the value")):
                os.write(keyboard, keys)
                for selector in (".saw .sentence", ".reading .sentence"):
                    until(driver, f"{card('typist')}.querySelector('{selector}').innerText === '{said}'")
            assert text(driver, ".leak").split() == ["100", "%", "read,", "3", "of", "3", "tokens"]
            ask(driver, 7, "typist")
            until(driver, f"{card('typist')}.querySelector('.sentence s')")
            assert text(driver, ".saw .sentence") == "return the value"
            assert barriers(driver) == []
            assert errors(driver) == []
            os.write(keyboard, b"\x04")
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()
            os.close(keyboard)
            os.close(screen)
