"""Server and device on two virtual hosts, with a round trip of 40 ms and 20 Mbit/s between them."""

import contextlib
import subprocess
import sys

import numpy as np
import pytest

from cutlayer.cloud.tap import read
from cutlayer.errors import ConfigError
from cutlayer.network.namespaces import two_hosts
from cutlayer.network.profiles import network_named
from cutlayer.network.shaper import shaped
from tests.cloud_process import CloudProcess
from tests.tiny_split import write_split

RATE_MBPS, ROUND_TRIP_MS = 20, 40
COUNT = 12

SEND = """
import sys
from pathlib import Path
import numpy as np
from cutlayer.wire.transport import Timeouts
from cutlayer.wire.connect import connect
from cutlayer.wire.security import Security
from tests.tiny_split import edge_at, images
folder, address, record, count, n = sys.argv[1:]
client = connect(address, Timeouts(request_s=30), security=Security(insecure=True))
edge = edge_at(Path(folder), client, timeouts=Timeouts(request_s=30))
edge.infer(images(int(n)), 0)
traces = [edge.infer(images(int(n)), index)[1] for index in range(1, int(count))]
client.close()
np.savez(record, network_ns=[t.network_ns for t in traces], tensor_bytes=[t.tensor_bytes for t in traces],
         cloud_ns=[t.queue_ns + t.decode_ns + t.tail_ns + t.reply_ns for t in traces])
"""


@pytest.fixture
def cable():
    with contextlib.ExitStack() as stack:
        try:
            yield stack.enter_context(two_hosts(network_named(f"{RATE_MBPS}mbit/{ROUND_TRIP_MS / 2}ms")))
        except ConfigError as error:
            pytest.skip(str(error))


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_two_hosts_on_a_slow_cable(tmp_path, cable, transport):
    """All time of the cable counts as network, and every request arrives once."""
    device, server, _, left, _ = cable
    write_split(tmp_path / "split")
    address = f"{transport}://{server.address}:0"
    options = ("--insecure", "--max-samples", "500")
    with CloudProcess(tmp_path / "split", address, tmp_path / "tap", options, within=server.within) as cloud:
        # The kernel of this machine may support no delay.
        with shaped(cloud.address, left, within=device.within, insecure=True) as (near, _):
            for name, n in (("small", 1), ("large", 500)):
                arguments = [tmp_path / "split", near, tmp_path / f"{name}.npz", COUNT, n]
                edge = [*device.within, sys.executable, "-c", SEND, *map(str, arguments)]
                done = subprocess.run(edge, capture_output=True, text=True, timeout=60, check=False)
                assert done.returncode == 0, done.stderr
        assert cloud.stop() == 0, cloud.errors
    ids = [header["id"] for header, _ in read(tmp_path / "tap")]
    assert len(ids) == len(set(ids)) == 2 * COUNT
    for name in ("small", "large"):
        with np.load(tmp_path / f"{name}.npz") as measured:
            on_the_cable_ns = measured["tensor_bytes"] * 8e3 / RATE_MBPS
            # The token bucket lets a burst pass at once.
            least_ns = ROUND_TRIP_MS * 1e6 + np.maximum(0, on_the_cable_ns - 16e3 * 8e3 / RATE_MBPS)
            assert (measured["network_ns"] >= least_ns).all()
            assert np.median(measured["cloud_ns"]) < ROUND_TRIP_MS * 1e6
