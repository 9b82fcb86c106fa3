"""How near a shaped network comes to what it should be: round trip and rate, each beside its target.

    .venv/bin/python benchmarks/shaper.py [--networks lan,wifi,lte] [--tc]

A device and a server in processes of their own, over bare sockets. The round trip is the median of single bytes there
and back. A rate is that of a transfer of `--seconds` at the target, from its first byte's leaving until the answer to
its last is back, less the round trip that the network should have. Loopback goes first: what is in every other row too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import time
from math import inf

from cutlayer.network.profiles import Network, networks_named
from cutlayer.network.shaper import shaped

ROW = "{:<24}{:>12}{:>12}{:>9}{:>5}{:>12}{:>12}{:>9}{:>12}{:>12}{:>9}"
NETWORKS = "lan,wifi,lte,3g,nbiot,satellite,20mbit/40ms"
LOOPBACK_BPS = 1e9
"""How much is sent where nothing limits it."""

LEAST_BYTES = 50_000
"""On a slow network: packets enough that one more or less is no error of some percent."""


def serve(n_up: int, n_down: int) -> None:
    """Send back single bytes until one says enough; then take so many and give so many."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        with listening.accept()[0] as far:
            far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while (byte := far.recv(1)) == b"?":
                far.sendall(byte)
            _take(far, n_up)
            far.sendall(b"!")
            far.recv(1)
            far.sendall(bytes(n_down))
            far.recv(1)


def ask(port: int, n_pings: int, n_up: int, n_down: int) -> None:
    """Print seconds: of each round trip, of the transfer up, of the transfer down."""
    with socket.create_connection(("127.0.0.1", port)) as near:
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pings = [_seconds(near, b"?", 1) for _ in range(n_pings + 1)][1:]
        near.sendall(b".")
        print(json.dumps([pings, _seconds(near, bytes(n_up), 1), _seconds(near, b"?", n_down)]))


def _seconds(near: socket.socket, words: bytes, n_bytes: int) -> float:
    start = time.monotonic()
    near.sendall(words)
    _take(near, n_bytes)
    return time.monotonic() - start


def _take(end: socket.socket, n_bytes: int) -> None:
    while n_bytes:
        n_bytes -= len(end.recv(min(n_bytes, 1 << 20)))


def measure(network: Network, seconds: float, tc: bool) -> tuple[str, int, float, float, float]:
    """Who shaped, pings, and the median round trip in seconds, the rates up and down in bit/s."""
    n_up, n_down = (
        max(LEAST_BYTES, int((LOOPBACK_BPS if bps == inf else bps) * seconds / 8))
        for bps in (network.up_bps, network.down_bps)
    )
    # A median of few says nothing where each of them is drawn anew.
    n_pings = max(5, min(100, int((20 if network.jitter_s else 3) / (network.rtt_s + 1e-3))))
    with contextlib.ExitStack() as stack:
        words = [sys.executable, __file__, "serve", str(n_up), str(n_down)]
        serving = stack.enter_context(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        assert serving.stdout is not None
        address = f"grpc://127.0.0.1:{serving.stdout.readline().strip()}"
        address, label = stack.enter_context(shaped(address, network, tc=tc))
        port = address.rpartition(":")[2]
        words = [sys.executable, __file__, "ask", port, *map(str, (n_pings, n_up, n_down))]
        asked = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    pings, *took_s = json.loads(asked.stdout)
    up_bps, down_bps = (8 * n / (s - network.rtt_s) for n, s in zip((n_up, n_down), took_s, strict=True))
    return label, n_pings, statistics.median(pings), up_bps, down_bps


def main() -> None:
    """Print one row for each network."""
    if sys.argv[1:2] == ["serve"]:
        return serve(*map(int, sys.argv[2:]))
    if sys.argv[1:2] == ["ask"]:
        return ask(*map(int, sys.argv[2:]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=NETWORKS)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--tc", action="store_true", help="in network namespaces; needs root or user namespaces")
    options = parser.parse_args()
    print(ROW.format("network", "rtt ms", "is p50", "error", "n", "up Mbit/s", "is", "error", "down", "is", "error"))
    for network in networks_named(f"loopback,{options.networks}"):
        label, n, rtt_s, *rates = measure(network, options.seconds, options.tc)
        cells = [f"{network.rtt_s * 1e3:.2f}", f"{rtt_s * 1e3:.2f}", _error(rtt_s, network.rtt_s), n]
        for is_bps, bps in zip(rates, (network.up_bps, network.down_bps), strict=True):
            cells += [f"{bps / 1e6:.3f}", f"{is_bps / 1e6:.3f}", _error(is_bps, bps)]
        print(ROW.format(network.name, *cells), "", label, flush=True)
    return None


def _error(measured: float, target: float) -> str:
    return f"{measured / target - 1:+.1%}" if 0 < target < inf else "-"


if __name__ == "__main__":
    main()
