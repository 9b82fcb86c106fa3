"""Carry bytes from one socket to another, delayed and slowed as a `Link` says."""

from __future__ import annotations

import asyncio
import socket
from math import inf
from random import Random

from cutlayer.network.link import Link, piece_bytes

_UNDER_WAY = 1024
"""Greatest number of pieces under way on one connection in one direction, so that an end that reads nothing stops the
other: 1.5 MB of them on a slow link and 64 MB on a fast one. The window of a TCP connection is some MB too."""

_SPIN_S, _SLEEP_ERROR = 200e-6, 0.01
"""How late a sleep may end, in seconds and as a share of it: that last part is spent awake."""

_PROBES, _PROBE_S = 20, 1e-3


async def pump(link: Link, source: socket.socket, sink: socket.socket) -> None:
    """Carry one direction of one connection, its end included."""
    loop = asyncio.get_running_loop()
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
        arrived, piece, n_bytes = 0.0, b"?", piece_bytes(link.rate_bps)
        while piece:
            if (wait_s := link.takes_at - loop.time()) > 0:
                await asyncio.sleep(wait_s)
            piece = await loop.sock_recv(source, n_bytes)
            arrived = link.arrival(loop.time(), len(piece), arrived)
            await under_way.put((arrived, piece))


async def own_delay_s() -> float:
    """Least delay that this process adds to a direction, because it is woken twice: part of the network's delay.

    It is the least of several probes, so that a machine that is busy meanwhile makes no network too fast.
    """
    loop = asyncio.get_running_loop()
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
        own_s, _ = await asyncio.gather(asyncio.to_thread(probe), pump(link, source, sink))
    return own_s


async def _sleep_until(loop: asyncio.AbstractEventLoop, due: float) -> None:
    while (left := due - loop.time()) > _SPIN_S:
        await asyncio.sleep(left - max(_SPIN_S, left * _SLEEP_ERROR))
    while loop.time() < due:
        await asyncio.sleep(0)
