"""The pictures of the README, taken of a real room: ``python -m tests.live.browser.pictures FOLDER [OUT]``.

Opens `cutlayer live` with its usual split and attackers in OUT (``live`` if left out, where what is trained is kept),
lets two devices join that each send one test image of the split's data, which no attacker holds, and writes
``live.jpg``, the whole page, and ``live.webp``, the slider on its way from off to the strongest noise.
"""

import argparse
import base64
import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from selenium.webdriver.support.ui import WebDriverWait

from cutlayer.data.load import load
from tests.browser import screen, started
from tests.live.browser.page import until

DATA = "photos-64"
DEVICES = {"kitchen": 59, "garden": 24}
"""Names of the devices, and which test image each of them sends."""
MOVING = "kitchen"
STEPS = (0, 2, 3, 4, 5, 6, 7)
FRAMES = 3
"""Pictures of each step."""
PATIENCE_S = 1800
MOST_BYTES = 100_000
"""Size of the still picture."""


@contextlib.contextmanager
def running(*words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "cutlayer.cli", *map(str, words)], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def said(process):
    """What `cutlayer live` prints when it is ready."""
    lines = {}
    while "ready" not in lines:
        line = process.stdout.readline()
        assert line, "cutlayer live has ended"
        word, _, rest = line.strip().partition(" ")
        lines[word] = rest.strip()
    return lines


def taken(driver, clip=None):
    """What the screen shows, or a part of it."""
    options = {"format": "png"} | ({} if clip is None else {"clip": {**clip, "scale": 1}})
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", options)
    return Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")


def move(driver, name, step):
    """Move the slider of a device, and wait until every attacker has seen frames behind that defense."""
    card = f"[...document.querySelectorAll('.card')].find(card => card.querySelector('h2').innerText === '{name}')"
    driver.execute_script(
        f"const slider = {card}.querySelector('input[type=range]'); slider.value = arguments[0];"
        "slider.dispatchEvent(new Event('input'))",
        step,
    )
    until(driver, f"{card}.querySelector('.state').innerText.startsWith('In use')", PATIENCE_S)
    frames(driver, name, 4)
    until(
        driver, f"![...{card}.querySelectorAll('figcaption small')].some(one => one.innerText.includes('learns'))", 300
    )
    frames(driver, name, 6)


def frames(driver, name, n):
    """Wait until n more frames were shown."""
    frame = f"Number(document.querySelector('[data-name=\"{name}\"]')?.dataset.frame ?? 0)"
    now = driver.execute_script(f"return {frame}")
    until(driver, f"{frame} >= {now + n}", PATIENCE_S)


def ready(driver):
    """Wait until all attackers have learned."""
    WebDriverWait(driver, PATIENCE_S, 1).until(
        lambda _: driver.execute_script(
            "const names = [...document.querySelectorAll('.choices label')];"
            "return names.length && names.every(name => name.querySelector('progress').hidden)"
            " && document.querySelectorAll('.leak strong').length === names.length * arguments[0]"
            " && ![...document.querySelectorAll('figcaption small')].some(one => one.innerText.includes('learns'))",
            len(DEVICES),
        )
    )


def main():
    """Take both pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path, nargs="?", default=Path("live"))
    asked = parser.parse_args()
    images = load(DATA, None, 0).test.inputs
    with contextlib.ExitStack() as opened:
        scratch = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        room = said(opened.enter_context(running("live", "--data", DATA, "--out", asked.out)))
        code = re.search("'(.*)'", room["devices"])[1]
        for name, index in DEVICES.items():
            (scratch / name).mkdir()
            pixels = np.rint(images[index].transpose(1, 2, 0) * 255).astype(np.uint8)
            Image.fromarray(pixels).save(scratch / name / "picture.png")
            words = ("--images", scratch / name, "--name", name, "--rate", 5, "--share-original")
            opened.enter_context(running("edge", "--join", code, *words))
        driver = started(camera=False)
        opened.callback(driver.quit)
        driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        screen(driver, 1280, 900, dark=True)
        driver.get(room["page"])
        ready(driver)
        still(driver, asked.folder / "live.jpg")
        moving(driver, asked.folder / "live.webp")


def still(driver, file):
    """Both devices, one of them behind noise."""
    others = [name for name in DEVICES if name != MOVING]
    for name in others:
        move(driver, name, 5)
    picture = taken(driver)
    for quality in range(85, 20, -5):
        picture.save(file, quality=quality, optimize=True, progressive=True)
        if file.stat().st_size <= MOST_BYTES:
            return


def moving(driver, file):
    """One device, step by step."""
    driver.execute_script(
        "for (const card of document.querySelectorAll('.card')) if (card.dataset.name !== arguments[0]) card.remove()",
        MOVING,
    )
    screen(driver, 900, 820, dark=True)
    pictures = []
    for step in STEPS:
        move(driver, MOVING, step)
        for _ in range(FRAMES):
            frames(driver, MOVING, 1)
            clip = driver.execute_script(
                "const card = document.querySelector('.card').getBoundingClientRect();"
                "const end = document.querySelector('.card .steps').getBoundingClientRect().bottom;"
                "return {x: 0, y: card.top, width: innerWidth, height: end - card.top + 16}"
            )
            pictures.append(taken(driver, clip))
    held = [900 if at % FRAMES == FRAMES - 1 else 300 for at in range(len(pictures))]
    held[-1] = 2000
    pictures[0].save(
        file, save_all=True, append_images=pictures[1:], duration=held, loop=0, quality=55, method=6, minimize_size=True
    )


if __name__ == "__main__":
    main()
