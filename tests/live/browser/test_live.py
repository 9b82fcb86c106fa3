"""The big screen over a real room: processes of the server, its attackers and devices, and a browser."""

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from cutlayer.data.load import load
from cutlayer.spec import image_spec
from tests.browser import barriers, errors
from tests.live.browser.page import shown, text, until
from tests.tiny_split import write_split

NAME = "door-camera"
EARLY = "not learned yet"


def free_port():
    """A port that was free a moment ago, for a server that comes back at the same address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """A convolution of handwritten digits that nobody trained: a linear formula inverts it well."""
    path = tmp_path_factory.mktemp("split") / "split"
    write_split(path, data="digits", input=image_spec(1, 8, 8), channels=6, classes=10)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """One digit, which a device sends again and again, so that what is rebuilt changes with the defense alone."""
    image = load("digits", None, 0).test.inputs[0, 0]
    path = tmp_path_factory.mktemp("pictures")
    Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(path / "picture.png")
    return path


class Live:
    """The process of `cutlayer live`."""

    def __init__(self, split, out, port=0, attacks="ridge"):
        self._words = [split, "--attacks", attacks, "--out", out, "--port", port]

    def __enter__(self):
        self.process = run("live", *self._words)
        said = {}
        while "ready" not in said:
            line = self.process.stdout.readline()
            assert line, self.process.stderr.read()
            word, _, rest = line.strip().partition(" ")
            said[word] = rest.strip()
        self.page, self.code = said["page"], re.search("'(.*)'", said["devices"])[1]
        return self

    def __exit__(self, *_):
        self.process.terminate()
        out, error = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, out + error


def run(*words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "cutlayer.cli", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@contextmanager
def device(room, pictures, *options, name=NAME):
    process = run("edge", "--join", room.code, "--images", pictures, "--name", name, *options)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def room(split, tmp_path_factory):
    with Live(split, tmp_path_factory.mktemp("out")) as live:
        yield live


def card(name=NAME):
    return f"[...document.querySelectorAll('.card')].find(card => card.querySelector('h2').innerText === '{name}')"


def rebuilt(driver, name=NAME, attacker="ridge"):
    """How far the picture that is shown of a device is from the original, as the mean squared difference."""
    saw, made = (
        shown(driver, f"{card(name)}.querySelector('{selector} canvas')")
        for selector in (".saw", f"[data-attacker={attacker}]")
    )
    return float(np.square(saw - made).mean())


def ask(driver, step, name=NAME):
    """Move the slider of a device."""
    driver.execute_script(
        f"const slider = {card(name)}.querySelector('input[type=range]'); slider.value = arguments[0];"
        "slider.dispatchEvent(new Event('input'))",
        step,
    )


def test_a_picture_is_rebuilt_dissolves_with_the_slider_and_comes_back(room, pictures, browse):
    driver = browse()
    driver.get(room.page)
    until(driver, "!document.getElementById('welcome').hidden")
    with device(room, pictures, "--share-original"):
        until(driver, f"{card()}?.querySelector('.leak strong')")
        distances = []
        for step in (0, 5, 7):
            ask(driver, step)
            sigma = driver.execute_script(f"return {card()}.querySelector('output small').innerText")
            stated = f"gaussian noise, {sigma}" if step else "no defense"
            until(driver, f"{card()}.querySelector('.state').innerText === 'In use: {stated}'")
            # Frames from before the change are still on their way, and the attacker learns anew behind each defense.
            defense = f"gaussian-noise {sigma.replace(' ', '=')}" if step else "none"
            until(driver, f"{card()}.dataset.defense === '{defense}' && !{card()}.innerText.includes('{EARLY}')")
            number = driver.execute_script(f"return {card()}.dataset.frame")
            until(driver, f"Number({card()}.dataset.frame) > {int(number) + 3}")
            distances.append(np.mean([rebuilt(driver) for _ in range(3)]))
        assert distances[0] < 0.01
        assert 2 * distances[0] < distances[1] < distances[2]
        assert errors(driver) == []
        assert barriers(driver) == []


def test_a_killed_device_keeps_its_picture_and_its_place(room, pictures, browse):
    driver = browse()
    driver.get(room.page)
    with device(room, pictures, "--share-original", name="killed") as process:
        until(driver, f"{card('killed')}?.querySelector('.leak strong')")
        process.kill()
        until(driver, f"{card('killed')}.classList.contains('gone')")
        assert "last seen" in driver.execute_script(f"return {card('killed')}.querySelector('.seen').innerText")
        assert rebuilt(driver, "killed") < 0.01
        count = driver.execute_script("return document.querySelectorAll('.card').length")
    with device(room, pictures, "--share-original", name="killed"):
        until(driver, f"!{card('killed')}.classList.contains('gone')")
        assert driver.execute_script("return document.querySelectorAll('.card').length") == count


def test_a_device_refuses_what_its_user_forbids_in_its_own_words(room, pictures, browse):
    driver = browse()
    driver.get(room.page)
    with device(room, pictures, "--at-least", "gaussian-noise=2", name="careful"):
        until(driver, f"{card('careful')}?.querySelector('.leak')?.innerText.includes('not scored')")
        assert text(driver, ".saw .kept") == "The picture stays on the device."
        ask(driver, 2, "careful")
        until(driver, f"{card('careful')}.querySelector('.state.refused')")
        state = driver.execute_script(f"return {card('careful')}.querySelector('.state').innerText")
        refusal = "The device refuses: This device does not go below gaussian-noise sigma=2."
        assert state == f"In use: gaussian noise, sigma 2. {refusal}"
        until(driver, f"{card('careful')}.querySelector('input[type=range]').value === '5'")


def test_a_wrong_token_is_refused(room, browse):
    driver = browse()
    driver.get(room.page.partition("#")[0] + "#" + "x" * 32)
    until(driver, "!document.getElementById('trouble').hidden")
    assert text(driver, "#trouble").startswith("The token is not that of this room")


@pytest.mark.slow
def test_page_and_device_come_back_to_a_server_that_was_started_again(split, pictures, browse, tmp_path):
    driver, port = browse(), free_port()
    with Live(split, tmp_path / "out", port) as live:
        driver.get(live.page)
        process = device(live, pictures, "--share-original")
        opened = process.__enter__()
        until(driver, f"{card()}?.querySelector('.leak strong')")
    try:
        until(driver, "document.querySelector('#link.lost')")
        assert rebuilt(driver) < 0.01
        with Live(split, tmp_path / "out", port):
            until(driver, f"!document.querySelector('#link.lost') && !{card()}.classList.contains('gone')")
            number = driver.execute_script(f"return {card()}.dataset.frame")
            until(driver, f"{card()}.dataset.frame !== '{number}'")
            assert driver.execute_script("return document.querySelectorAll('.card').length") == 1
            assert opened.poll() is None
    finally:
        process.__exit__(None, None, None)
