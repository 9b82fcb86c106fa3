"""A device is killed again and again while its server comes and goes: no request is lost or recorded twice.

    .venv/bin/python -m tests.faults.kill_device [--transport zmq] [--kills 50]

The device keeps its requests in a queue on disk. The tap is durable: it holds a request before its answer leaves.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cutlayer.cloud.tap import read
from tests.cloud_process import CloudProcess
from tests.edge_process import EdgeProcess, assert_all_once_in_order
from tests.faults.long_form import runs
from tests.tiny_split import write_split


class Survived(NamedTuple):
    """The result of a run with kills.

    Attributes:
        made: Number of requests whose ids a device printed before it was killed.
        recorded: Number of requests in the tap: the same, and those made just before a kill.
        alone: Number of kills while the server was away.
    """

    made: int
    recorded: int
    alone: int


def survive(folder: Path, transport: str, n_kills: int, seed: int = 0) -> Survived:
    """Start and kill devices, then let a last one send the queued requests.

    Raises:
        AssertionError: A request was lost, recorded twice, or overtaken.
    """
    write_split(folder / "split")
    rng, ids, alone = np.random.default_rng(seed), [], 0
    with CloudProcess(folder / "split", f"{transport}://127.0.0.1:0", folder / "tap", ("--durable",)) as cloud:
        here = True
        for _ in range(n_kills):
            device = EdgeProcess(folder, cloud.address)
            ids += device.wait_for(int(rng.integers(1, 40)))
            # Half of the time the server is killed or comes back before the device is killed.
            if rng.random() < 0.5:
                if here:
                    cloud.kill()
                else:
                    cloud.start()
                here = not here
            # A random place within a request, or within the sending of queued ones.
            time.sleep(float(rng.random()) * 0.2)
            ids += device.kill()
            alone += not here
        if not here:
            cloud.start()
        ids += EdgeProcess(folder, cloud.address, 1).end()
        assert cloud.stop() == 0, cloud.errors
    recorded = [header["id"] for header, _ in read(folder / "tap")]
    assert_all_once_in_order(ids, recorded)
    return Survived(len(ids), len(recorded), alone)


def main() -> None:
    """Print a line for each transport."""
    for transport, folder, options in runs(__doc__, kills=50, seed=0):
        start = time.monotonic()
        survived = survive(folder, transport, options.kills, options.seed)
        print(
            f"{transport}: {options.kills} kills of the device, {survived.alone} of them while its server was away; "
            f"{survived.made:,} requests made, all {survived.recorded:,} in the tap once and in order "
            f"({time.monotonic() - start:.0f} s)",
            flush=True,
        )


if __name__ == "__main__":
    main()
