"""How many frames per second reach the page of a room from two devices, and whether attackers slow the devices.

Two devices, each a process of its own, send frames of 64x64 pixels to a room on this machine, and a page watches it. In
turns, the room has its attackers (ridge and the decoder, trained before) or none; each turn states the frames per
second that the page was told for each device, and percentiles of the devices' end-to-end times.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from websockets.sync.client import connect

from cutlayer.live.prepare import DATA, usual_split
from cutlayer.live.serve import Opened, open_room
from cutlayer.percentiles import percentile
from cutlayer.terminal import say, tell

DEVICES = ("first", "second")
DEVICE = str(Path(__file__).with_name("live_device.py"))
READY_S = 600.0


def main() -> None:
    """Run the turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("live"), help="folder of the split and of the decoder")
    parser.add_argument("--rate", type=float, default=12.0, help="frames per second that each device sends")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of one turn")
    parser.add_argument("--turns", type=int, default=3, help="turns with attackers, and as many without")
    given = parser.parse_args()
    split = usual_split(given.out, DATA, None, 0)
    ends: dict[str, list[int]] = defaultdict(list)
    pictures: list[float] = []
    for turn in range(2 * given.turns):
        attackers = ("ridge", "decoder") if turn % 2 == 0 else ()
        name = "with attackers" if attackers else "without attackers"
        with open_room(split, DATA, out=given.out, attackers=attackers) as opened:
            times, shown = measured(opened, given.rate, given.seconds, bool(attackers))
        ends[name] += times
        pictures += shown
        tell(f"turn {turn + 1}, {name}: {said(times)}" + (f"; pictures per second {rates(shown)}" if shown else ""))
    for name, times in ends.items():
        tell(f"all turns {name}: {said(times)}")
    tell(f"pictures per second and device on the page: least {min(pictures):.1f}, all {rates(pictures)}")


def measured(opened: Opened, rate: float, seconds: float, attacked: bool) -> tuple[list[int], list[float]]:
    """End-to-end times of the devices in ns, and the frames per second that a page gets of each, if it gets any."""
    base, _, token = opened.screen.partition("#")
    with (
        tempfile.TemporaryDirectory() as scratch,
        connect(f"ws{base.removeprefix('http')}watch", max_size=None) as page,
    ):
        page.send(json.dumps({"token": token}))
        if attacked:
            await_attackers(page)
        devices = [
            subprocess.Popen(
                [sys.executable, DEVICE, str(opened.code), name, str(rate), str(seconds), f"{scratch}/{name}.npy"]
            )
            for name in DEVICES
        ]  # fmt: skip
        counts, began = count_pictures(page, devices, seconds)
        for device in devices:
            device.wait(READY_S)
        times = [int(ns) for name in DEVICES for ns in np.load(f"{scratch}/{name}.npy")]
    return times, [n / (time_s - began) for n, time_s in counts.values()]


def await_attackers(page: object) -> None:
    """Wait until all attackers have learned."""
    said_so = False
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        message = json.loads(page.recv(timeout=READY_S))  # type: ignore[attr-defined]
        attackers = message.get("attackers", [])
        if attackers and all(one["ready"] and one["progress"] == 1 for one in attackers):
            return
        if attackers and not said_so:
            say("the attackers learn")
            said_so = True
    raise SystemExit("The attackers have not learned in time.")


def count_pictures(page: object, devices: list[subprocess.Popen[bytes]], seconds: float) -> tuple[
    dict[str, tuple[int, float]], float
]:  # fmt: skip
    """The frames of each device that arrive while both send, with the time of the last; and when it began."""
    counts: dict[str, tuple[int, float]] = {}
    began = 0.0
    while any(device.poll() is None for device in devices):
        try:
            message = json.loads(page.recv(timeout=0.5))  # type: ignore[attr-defined]
        except TimeoutError:
            continue
        if message["type"] == "frame":
            began = began or time.monotonic()
            if time.monotonic() - began < seconds:
                n, _ = counts.get(message["id"], (0, 0.0))
                counts[message["id"]] = n + 1, time.monotonic()
    return counts, began


def said(times: list[int]) -> str:
    """Percentiles, with the number of requests."""
    values = ((q, percentile(np.array(times, np.int64), q)) for q in (50, 95))
    shown = ", ".join(f"p{q} {'-' if value is None else f'{value / 1e6:.2f} ms'}" for q, value in values)
    return f"end to end {shown} (n = {len(times):,})"


def rates(values: list[float]) -> str:
    """Numbers with one decimal."""
    return ", ".join(f"{value:.1f}" for value in values)


if __name__ == "__main__":
    main()
