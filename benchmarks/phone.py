"""How long it takes from opening the address of a phone to the first picture that the server rebuilds of its camera.

    .venv/bin/python benchmarks/phone.py [--rounds 10] [--out live] [--attacks ridge]

The room and headless Chromium with its test camera run on this machine. The room's split is that of `cutlayer live`;
one attacker is ready before the first round. Each round starts a browser that has seen nothing (cold), opens the
address, presses "Use the camera" as soon as it can be pressed, and waits until the big screen is told of the picture.
Then it loads the page again in the same browser (warm). Times count from the beginning of the navigation.

Target: at most 5 s, cold.
"""

import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tyro
from websockets.sync.client import connect

from cutlayer.live.prepare import DATA, usual_split
from cutlayer.live.runtime import ONNX, Runtime
from cutlayer.live.serve import Opened, open_room

STEPS = ("button ready", "first answer", "first picture")
PATIENCE_S = 120.0

# The page says when its button can be pressed, presses it, and says when the server has answered.
PRESS = """
const done = arguments[0];
const button = document.getElementById("camera");
const until = (condition) => new Promise((resolve) => {
  const look = () => (condition() ? resolve(performance.now()) : setTimeout(look, 5));
  look();
});
(async () => {
  const ready = await until(() => !button.disabled);
  button.click();
  const answered = await until(() => document.getElementById("answer").innerText);
  done([performance.timeOrigin, ready, answered]);
})();
"""


class Screen:
    """The big screen's connection: when it was first told of a picture of each device."""

    def __init__(self, opened: Opened) -> None:
        self.first_s: dict[str, float] = {}
        self.ready, self.changed = threading.Event(), threading.Condition()
        address, _, token = opened.screen.partition("#")
        self._address, self._token = address.replace("http", "ws", 1) + "watch", token
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        with connect(self._address, max_size=None) as socket:
            socket.send(json.dumps({"token": self._token}))
            for text in socket:
                message = json.loads(text)
                if message["type"] == "room" and any(attacker["ready"] for attacker in message["attackers"]):
                    self.ready.set()
                if message["type"] == "frame" and message["rebuilt"]:
                    with self.changed:
                        self.first_s.setdefault(message["id"], time.time())
                        self.changed.notify_all()

    def next_of(self, known: set[str]) -> float:
        """When the first picture of a device came that is not among these."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.first_s.keys() - known, PATIENCE_S):
                sys.exit("no picture came within two minutes")
            return min(self.first_s[id] for id in self.first_s.keys() - known)


@contextmanager
def browser() -> Iterator[Any]:
    """A browser with a test camera, which has seen nothing."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    for word in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "no-proxy-server"):
        options.add_argument(f"--{word}")
    for word in ("device", "ui"):
        options.add_argument(f"--use-fake-{word}-for-media-stream")
    options.binary_location = shutil.which("chromium") or ""
    driver = Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.set_script_timeout(PATIENCE_S)
        yield driver
    finally:
        driver.quit()


def opened_page(driver: Any, address: str, screen: Screen) -> list[float]:
    """Seconds from the beginning of the navigation to each of `STEPS`."""
    known = set(screen.first_s)
    driver.get("about:blank")
    driver.get(address)
    origin_ms, ready_ms, answered_ms = driver.execute_async_script(PRESS)
    shown_s = screen.next_of(known)
    return [ready_ms / 1e3, answered_ms / 1e3, shown_s - origin_ms / 1e3]


def main(rounds: int = 10, out: Path = Path("live"), attacks: str = "ridge") -> None:
    """Print the times, sorted.

    Args:
        rounds: Browsers that are started one after the other.
        out: Folder of the room; its split is trained there if it is missing.
        attacks: Name of the attacker.
    """
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        sys.exit("this needs chromium and chromedriver: apt-get install chromium chromium-driver")
    Runtime(ONNX).ready()
    split = usual_split(out, DATA, None, 0)
    with open_room(split, DATA, out=out, attackers=(attacks,)) as opened:
        screen = Screen(opened)
        if not screen.ready.wait(600):
            sys.exit("the attacker is not ready after ten minutes")
        times: dict[str, list[list[float]]] = {"cold": [], "warm": []}
        for _ in range(rounds):
            with browser() as driver:
                for kind in times:
                    times[kind].append(opened_page(driver, opened.phone, screen))
                    # A page that is loaded again is the same device; here each load shall be a new one.
                    driver.execute_script("sessionStorage.clear()")
        print(f"{split.manifest.model}@{split.manifest.cut}, {split.manifest.input}, n = {rounds} browsers, {attacks}")
        print(f"{'seconds to':<16}{'':<6}{'median':>8}{'greatest':>10}   all, in order")
        for kind, rows in times.items():
            for step, values in zip(STEPS, zip(*rows, strict=True), strict=True):
                ordered = sorted(values)
                middle = ordered[len(ordered) // 2]
                every = " ".join(f"{value:.2f}" for value in values)
                print(f"{step:<16}{kind:<6}{middle:>8.2f}{ordered[-1]:>10.2f}   {every}")


if __name__ == "__main__":
    tyro.cli(main)
