"""A device with a queue, in a process that tests may kill, and the condition that its requests must meet."""

from __future__ import annotations

import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

DEVICE = """
import itertools, logging, sys
from pathlib import Path
import numpy as np
from cutlayer.split_folder import open_split
from cutlayer.wire.transport import Timeouts
from cutlayer.wire.connect import connect
from cutlayer.edge.offline.lookout import Lookout
from cutlayer.edge.offline.replay import Offline
from cutlayer.edge.offline.queue import Queue
from tests.tiny_split import images
from cutlayer.edge.client import Edge
from cutlayer.edge.pipeline import Pipeline
from cutlayer.wire.codecs.raw import Raw
from cutlayer.defenses.base import Defense
folder, address, queue, count = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
timeouts, manifest = Timeouts(connect_s=0.3, request_s=10.0), open_split(folder).manifest
transport = connect(address, timeouts)
edge = Edge(manifest, Pipeline(open_split(folder).head(), Defense(), Raw()), transport, timeouts, greet=False)
lookout = Lookout(lambda: edge.shake_hands(0.3), first_pause_s=0.05, most_pause_s=0.05)
offline = Offline(edge, manifest, lookout, queue=Queue(queue, 1 << 26))
for index in range(count):
    offline.infer(images(1), index)
    print(edge.request_id(index), flush=True)
offline.flush()
while offline.counts.waiting:
    offline.flush()
offline.close(transport)
"""


class EdgeProcess:
    """The process of a device, which prints the id of each request that it has ids.

    Args:
        folder: Folder that holds the split folder `split`, and gets the queue `queue`.
        address: Address of the server, which may be away.
        count: Number of requests; the process ends once they and all queued ones are answered.
    """

    def __init__(self, folder: Path, address: str, count: int = 10**9) -> None:
        command = [sys.executable, "-c", DEVICE, folder / "split", address, folder / "queue", count]
        self.process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_for(self, n: int) -> list[str]:
        """Return the ids of the next n requests."""
        lines: list[str] = []
        while len(lines) < n:
            assert select.select([self.process.stdout], [], [], 60)[0], "the device hangs"
            line = self.process.stdout.readline()
            assert line, self.process.communicate()[1]
            lines.append(line.strip())
        return lines

    def kill(self) -> list[str]:
        """Kill the process at once; return the ids that were not read before."""
        self.process.send_signal(signal.SIGKILL)
        out, _ = self.process.communicate()
        # The last line may be half a line.
        return [line.strip() for line in out.splitlines(keepends=True) if line.endswith("\n")]

    def end(self) -> list[str]:
        """Wait until the process ends by itself; return the ids that were not read before."""
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err
        return out.split()


def assert_all_once_in_order(ids: Sequence[str], recorded: Sequence[str]) -> None:
    """Check that a tap holds each request that a device has ids once, and those of a session in order."""
    assert max(Counter(recorded).values()) == 1, "a request is in the tap twice"
    assert set(ids) <= set(recorded), "a request was lost"
    sessions = dict.fromkeys(id.rpartition("-")[0] for id in recorded)
    counts = Counter(id.rpartition("-")[0] for id in recorded)
    expected = [f"{session}-{index}" for session in sessions for index in range(counts[session])]
    assert recorded == expected, "out of order, or one is missing"


def heeds_ctrl_c():
    """Let a process be stopped by Ctrl-C, which one that is started from the background ignores."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
