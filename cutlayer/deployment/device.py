"""The device's process of one split folder: it reads tasks from standard input and answers on standard output.

    python -m cutlayer.deployment.device FOLDER IMAGES.npy '{"head": "onnx", "threads": 1, "cores": [], "quota": null}'

Each task and each answer is a JSON object on a line. There is a fresh process for each cut, so that its peak of memory
and its cold start are those of this cut alone. It imports what a device has to import, and nothing more.
`cutlayer.deployment.device_process` starts it.
"""

from __future__ import annotations

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

from cutlayer.defenses.base import deployed
from cutlayer.deployment.tasks import TASKS, Device
from cutlayer.errors import CutlayerError
from cutlayer.machine.compute import tune_allocator
from cutlayer.machine.footprint import restart_peak_rss
from cutlayer.machine.limits import pin, quota
from cutlayer.split_folder import Runtime, open_split
from cutlayer.stopping import heed


def serve(device: Device, lines: Iterable[str], answer: Callable[[dict[str, Any]], None]) -> None:
    """Do the task on each line, until they end. An error that the user can mend is answered with its sentence."""
    for line in lines:
        task = json.loads(line)
        tokens = task.pop("tokens", None)
        of_task = device if tokens is None else device.of_length(tokens)
        # A collection in the middle of a run would count as its time.
        gc.collect()
        gc.disable()
        try:
            answer(TASKS[task.pop("do")](of_task, **task))
        except CutlayerError as error:
            answer(_refused(error))
        finally:
            gc.enable()


def _refused(error: CutlayerError) -> dict[str, Any]:
    return {"error": str(error), "kind": type(error).__name__}


def main() -> None:
    """Open the split folder, answer how long that took, then serve standard input to its end."""
    heed()
    with contextlib.suppress(KeyboardInterrupt):
        _main()


def _main() -> None:
    folder, images, options = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    # Answers have standard output to themselves: a library that prints would spoil them.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def answer(values: dict[str, Any]) -> None:
        print(json.dumps(values), file=answers, flush=True)

    with contextlib.ExitStack() as slowed:
        try:
            if options["cores"]:
                pin(options["cores"])
            if options["quota"] is not None:
                slowed.enter_context(quota(options["quota"]))
            tune_allocator()
            loaded: NDArray[np.float32] = np.load(images)
            restart_peak_rss()
            device, opened = _open(folder, loaded, options["head"], options["threads"])
        except CutlayerError as error:
            answer(_refused(error))
            return
        answer(opened)
        serve(device, sys.stdin, answer)


def _open(folder: Path, images: NDArray[np.float32], runtime: Runtime, threads: int) -> tuple[Device, dict[str, Any]]:
    """The split folder, opened, and how long opening the head and its very first inference took."""
    split = open_split(folder)
    start = time.monotonic_ns()
    head = split.head(runtime, threads)
    opened = time.monotonic_ns()
    head(images[:1])
    first = time.monotonic_ns()
    times = {"open_ns": opened - start, "first_ns": first - opened}
    return Device(split, head, deployed(split), images, threads), times


if __name__ == "__main__":
    main()
