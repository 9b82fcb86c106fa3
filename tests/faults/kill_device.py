"""Kill -9 of the device, again and again, while its server comes and goes: nothing is lost, and nothing recorded twice.

    .venv/bin/python -m tests.faults.kill_device [--transport zmq] [--kills 50]

The device keeps its requests in a queue on disk. The tap is durable: it has a request before its answer leaves.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cloud.tap import read
from tests.cloud_process import CloudProcess
from tests.edge_process import EdgeProcess, assert_all_once_in_order
from tests.tiny_split import write_split


class Survived(NamedTuple):
    """What a run with kills came to.

    Attributes:
        made: Requests that a device had said to have made before it was killed.
        recorded: Requests in the tap: the same, and those made just before a kill.
        gone: Kills of devices whose server was gone as well.
    """

    made: int
    recorded: int
    gone: int


def survive(folder: Path, transport: str, n_kills: int, seed: int = 0) -> Survived:
    """Start a device and kill it, so often; then let one send what is left.

    Raises:
        AssertionError: A request was lost, recorded twice, or overtaken.
    """
    write_split(folder / "split")
    rng, made, gone = np.random.default_rng(seed), [], 0
    with CloudProcess(folder / "split", f"{transport}://127.0.0.1:0", folder / "tap", ("--durable",)) as cloud:
        here = True
        for _ in range(n_kills):
            device = EdgeProcess(folder, cloud.address)
            made += device.wait_for(int(rng.integers(1, 40)))
            # Every other server goes or comes back under the device, before that is killed.
            if rng.random() < 0.5:
                if here:
                    cloud.kill()
                else:
                    cloud.start()
                here = not here
            # Anywhere within a request, or within what is sent again.
            time.sleep(float(rng.random()) * 0.2)
            made += device.kill()
            gone += not here
        if not here:
            cloud.start()
        made += EdgeProcess(folder, cloud.address, 1).end()
        assert cloud.stop() == 0, cloud.words
    recorded = [header["id"] for header, _ in read(folder / "tap")]
    assert_all_once_in_order(made, recorded)
    return Survived(len(made), len(recorded), gone)


def main() -> None:
    """Print what the run came to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transport", nargs="+", default=["zmq", "grpc"])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for transport in options.transport:
        with tempfile.TemporaryDirectory() as work:
            start = time.monotonic()
            survived = survive(Path(work), transport, options.kills, options.seed)
        print(
            f"{transport}: {options.kills} kills of the device, {survived.gone} of them while its server was gone; "
            f"{survived.made:,} requests made, all {survived.recorded:,} in the tap once and in order "
            f"({time.monotonic() - start:.0f} s)",
            flush=True,
        )


if __name__ == "__main__":
    main()
