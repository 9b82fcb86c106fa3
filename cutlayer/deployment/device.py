"""The device's process of one cut: it does what standard input says, a JSON object a line, and answers likewise.

    python -m cutlayer.deployment.device FOLDER IMAGES.npy --head onnx --threads 1

A fresh process for each cut, so that its peak of memory and its cold start are those of this cut alone. It imports
what a device has to import, and nothing more.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.deployment.tasks import TASKS, Device
from cutlayer.errors import CutlayerError
from cutlayer.machine.compute import tune_allocator
from cutlayer.machine.footprint import restart_peak_rss
from cutlayer.machine.limits import pin, quota
from cutlayer.split_folder import Runtime, open_split
from defenses.base import deployed


def serve(device: Device, lines: Iterable[str], say: Callable[[dict[str, Any]], None]) -> None:
    """Do what each line says, until they end. What the user can mend is answered as ``{"error": sentence}``."""
    for line in lines:
        task = json.loads(line)
        # A collection in the middle of a run would be booked on it.
        gc.collect()
        gc.disable()
        try:
            say(TASKS[task.pop("do")](device, **task))
        except CutlayerError as error:
            say(_refused(error))
        finally:
            gc.enable()


def _refused(error: CutlayerError) -> dict[str, Any]:
    return {"error": str(error), "kind": type(error).__name__}


def main() -> None:
    """Open the cut, say what that took, then serve standard input to its end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--head", choices=("onnx", "torch"), default="onnx")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cores", type=int, nargs="*", help="to run on; all when left out")
    parser.add_argument("--quota", type=float, help="of CPU time: 0.25 is a quarter of one core")
    options = parser.parse_args()
    # Answers have standard output to themselves: a library that prints would spoil them.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    with contextlib.ExitStack() as slowed:
        try:
            if options.cores:
                pin(options.cores)
            if options.quota is not None:
                slowed.enter_context(quota(options.quota))
            tune_allocator()
            images: NDArray[np.float32] = np.load(options.images)
            restart_peak_rss()
            device, opened = _open(options.folder, images, options.head, options.threads)
        except CutlayerError as error:
            say(_refused(error))
            return
        say(opened)
        serve(device, sys.stdin, say)


def _open(folder: Path, images: NDArray[np.float32], runtime: Runtime, threads: int) -> tuple[Device, dict[str, Any]]:
    """The cut, and how long opening it and its very first inference took."""
    split = open_split(folder)
    start = time.monotonic_ns()
    head = split.head(runtime, threads)
    opened = time.monotonic_ns()
    head(images[:1])
    first = time.monotonic_ns()
    return Device(split, head, deployed(split), images, threads), {
        "open_ns": opened - start,
        "first_ns": first - opened,
    }


if __name__ == "__main__":
    main()
