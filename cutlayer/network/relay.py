"""The application-level shaper's process: what connects to it gets to one address, through a network.

A process of its own, so that what it takes is not taken from the device whose time is measured, and ends with its
standard input, so that it never outlives whoever started it. `cutlayer.network.shaper` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import selectors
import signal
import socket
import struct
import sys
from math import inf
from random import Random

from cutlayer.network.link import Link
from cutlayer.network.profiles import Network

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: closing sends RST."""

_UNDER_WAY = 1024
"""Pieces, on one connection in one direction, for an end that reads nothing must stop the other: 1.5 MB of them on a
slow link and 64 MB on a fast one. The window of a TCP connection is some MB too."""

_PROBES, _PROBE_S = 20, 1e-3

_SPIN_S, _SLEEP_ERROR = 200e-6, 0.01
"""A sleep ends late by up to these, seconds and share of it: the last of them is spent awake."""


async def relay(network: Network, host: str, port: int) -> None:
    """Print a port of loopback, and carry what connects to it until standard input ends."""
    loop, random = asyncio.get_running_loop(), Random()
    delay_s = max(0.0, network.delay_s - await _own_delay_s(loop))
    up, down = (
        Link(rate_bps, delay_s, network.jitter_s, network.loss, network.rtt_s, random)
        for rate_bps in (network.up_bps, network.down_bps)
    )
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        listening.setblocking(False)

        async def accept() -> None:
            async with asyncio.TaskGroup() as connections:
                while True:
                    near, _ = await loop.sock_accept(listening)
                    connections.create_task(_connect(near, (host, port), network.rtt_s, up, down))

        accepting = asyncio.create_task(accept())
        loop.add_reader(sys.stdin, lambda: os.read(sys.stdin.fileno(), 1) or accepting.cancel())
        print(listening.getsockname()[1], flush=True)
        with contextlib.suppress(asyncio.CancelledError):
            await accepting


async def _own_delay_s(loop: asyncio.AbstractEventLoop) -> float:
    """What this process adds to a direction at the least, for it is woken twice: part of the delay that is asked for.

    The least of several, so that a machine that was busy just then makes no network faster than it should be.
    """
    into, source = socket.socketpair()
    sink, out = socket.socketpair()

    def probe() -> float:
        late = []
        for _ in range(_PROBES):
            start = loop.time()
            into.send(b"?")
            out.recv(1)
            late.append(loop.time() - start - _PROBE_S)
        into.shutdown(socket.SHUT_WR)
        return min(late)

    with into, source, sink, out:
        source.setblocking(False)
        sink.setblocking(False)
        link = Link(inf, _PROBE_S, 0.0, 0.0, 0.0, Random())
        own_s, _ = await asyncio.gather(asyncio.to_thread(probe), _pump(loop, link, source, sink))
    return own_s


async def _connect(near: socket.socket, to: tuple[str, int], rtt_s: float, up: Link, down: Link) -> None:
    """Carry one connection both ways until both ends are done, or reset it at both ends when one is."""
    loop = asyncio.get_running_loop()
    near.setblocking(False)
    ends = [near]
    try:
        far = await _open(*to)
        ends.append(far)
        for end in ends:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Whoever connects has to wait for an answer from the other end before the first byte may leave.
        await asyncio.sleep(rtt_s)
        async with asyncio.TaskGroup() as pumps:
            pumps.create_task(_pump(loop, up, near, far))
            pumps.create_task(_pump(loop, down, far, near))
    except* OSError:
        for end in ends:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    finally:
        for end in ends:
            end.close()


async def _open(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    (family, kind, protocol, _, address), *_ = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    end = socket.socket(family, kind, protocol)
    end.setblocking(False)
    try:
        await loop.sock_connect(end, address)
    except BaseException:
        end.close()
        raise
    return end


async def _pump(loop: asyncio.AbstractEventLoop, link: Link, source: socket.socket, sink: socket.socket) -> None:
    """Carry one direction of one connection until its end, and the end too."""
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_UNDER_WAY)

    async def deliver() -> None:
        while True:
            due, piece = await under_way.get()
            await _sleep_until(loop, due)
            if not piece:
                sink.shutdown(socket.SHUT_WR)
                return
            await loop.sock_sendall(sink, piece)

    async with asyncio.TaskGroup() as group:
        group.create_task(deliver())
        arrived, piece = 0.0, b"?"
        while piece:
            if (wait_s := link.takes_at - loop.time()) > 0:
                await asyncio.sleep(wait_s)
            piece = await loop.sock_recv(source, link.piece_bytes)
            arrived = link.arrival(loop.time(), len(piece), arrived)
            await under_way.put((arrived, piece))


async def _sleep_until(loop: asyncio.AbstractEventLoop, due: float) -> None:
    while (left := due - loop.time()) > _SPIN_S:
        await asyncio.sleep(left - max(_SPIN_S, left * _SLEEP_ERROR))
    while loop.time() < due:
        await asyncio.sleep(0)


def main() -> None:
    """JSON of the network, host, port."""
    network, host, port = sys.argv[1:]
    # Ctrl-C is for whoever started this, and the end of standard input follows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # epoll and poll wait in whole milliseconds, rounded up; select does in microseconds.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(relay(Network(**json.loads(network)), host, int(port)))


if __name__ == "__main__":
    main()
