"""How closely a shaped network matches its target in round trip and rate.

    .venv/bin/python benchmarks/shaper.py [--networks lan,wifi,lte] [--tc]

A device and a server in processes of their own, over bare sockets. The round trip is the median of single bytes sent
there and back. A rate is that of a transfer of `--seconds` at the target, from the first byte sent until the answer to
the last byte, minus the target round trip. Loopback goes first: every other row includes its times. With `--tc` the
kernel shapes, in network namespaces, for which it needs root or user namespaces.
"""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import subprocess
import sys
import time
from math import inf

import tyro

from cutlayer.network.profiles import Network, networks_named
from cutlayer.network.shaper import shaped

ROW = "{:<24}{:>12}{:>12}{:>9}{:>5}{:>12}{:>12}{:>9}{:>12}{:>12}{:>9}"
NETWORKS = "lan,wifi,lte,3g,nbiot,satellite,20mbit/40ms"
LOOPBACK_BPS = 1e9
"""Rate from which the size of a transfer follows where no network limits it."""

LEAST_BYTES = 50_000
"""Least size of a transfer, with enough packets that one more or less is no error of some percent."""


def serve(n_up: int, n_down: int) -> None:
    """Send back single bytes until another byte than "?" comes; then receive `n_up` bytes and send `n_down`."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        with listening.accept()[0] as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while (byte := client.recv(1)) == b"?":
                client.sendall(byte)
            _receive(client, n_up)
            client.sendall(b"!")
            client.recv(1)
            client.sendall(bytes(n_down))
            client.recv(1)


def ask(port: int, n_pings: int, n_up: int, n_down: int) -> None:
    """Print the seconds of each round trip, of the transfer up and of the transfer down."""
    with socket.create_connection(("127.0.0.1", port)) as server:
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pings = [_seconds(server, b"?", 1) for _ in range(n_pings + 1)][1:]
        server.sendall(b".")
        print(json.dumps([pings, _seconds(server, bytes(n_up), 1), _seconds(server, b"?", n_down)]))


def _seconds(server: socket.socket, data: bytes, n_bytes: int) -> float:
    start = time.monotonic()
    server.sendall(data)
    _receive(server, n_bytes)
    return time.monotonic() - start


def _receive(connection: socket.socket, n_bytes: int) -> None:
    while n_bytes:
        n_bytes -= len(connection.recv(min(n_bytes, 1 << 20)))


def measure(network: Network, seconds: float, tc: bool) -> tuple[str, int, float, float, float]:
    """What shaped the network, the number of pings, the median round trip in s, and the rates up and down in bit/s."""
    n_up, n_down = (
        max(LEAST_BYTES, int((LOOPBACK_BPS if bps == inf else bps) * seconds / 8))
        for bps in (network.up_bps, network.down_bps)
    )
    # With jitter each round trip is drawn at random, and a median needs more of them.
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


def main(networks: str = NETWORKS, seconds: float = 2.0, tc: bool = False) -> None:
    """Print one row for each network."""
    print(ROW.format("network", "rtt ms", "is p50", "error", "n", "up Mbit/s", "is", "error", "down", "is", "error"))
    for network in networks_named(f"loopback,{networks}"):
        label, n, rtt_s, *rates = measure(network, seconds, tc)
        cells = [f"{network.rtt_s * 1e3:.2f}", f"{rtt_s * 1e3:.2f}", _error(rtt_s, network.rtt_s), n]
        for is_bps, bps in zip(rates, (network.up_bps, network.down_bps), strict=True):
            cells += [f"{bps / 1e6:.3f}", f"{is_bps / 1e6:.3f}", _error(is_bps, bps)]
        print(ROW.format(network.name, *cells), "", label, flush=True)


def _error(measured: float, target: float) -> str:
    return f"{measured / target - 1:+.1%}" if 0 < target < inf else "-"


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(*map(int, sys.argv[2:]))
    elif sys.argv[1:2] == ["ask"]:
        ask(*map(int, sys.argv[2:]))
    else:
        tyro.cli(main, description=__doc__)
