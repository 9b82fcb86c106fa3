"""A device of `benchmarks.live`: it joins a room, and writes the end-to-end time of each of its requests in ns.

Usage: python benchmarks/live_device.py CODE NAME RATE SECONDS FILE.npy
"""

from __future__ import annotations

import sys
import threading

import numpy as np

from cutlayer.edge.joined import join
from cutlayer.trace import Trace
from cutlayer.wire.join_code import JoinCode


def main() -> None:
    """Join, send for so long, write the times."""
    code, name, rate, seconds, file = sys.argv[1:]
    times: list[int] = []
    stop = threading.Event()
    end = threading.Timer(float(seconds), stop.set)

    def traced(trace: Trace) -> None:
        if not times:
            end.start()
        times.append(trace.end_to_end_ns)

    join(JoinCode.parse(code), name=name, rate=float(rate), share_original=True, stop=stop, traced=traced)
    np.save(file, np.array(times, np.int64))


if __name__ == "__main__":
    main()
