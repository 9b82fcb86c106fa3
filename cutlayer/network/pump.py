"""Transfer of bytes from one socket to another, with the rate and delay of a `Link`."""

from __future__ import annotations

import asyncio
import socket
from math import inf
from random import Random

from cutlayer.network.link import Link

_MOST_PIECES = 1024
"""Most pieces in transit on one connection in one direction, so that an end that reads nothing stops the other: 1.5 MB
on a slow link and 64 MB on a fast one. The window of a TCP connection is also some MB."""

_SPIN_S, _SLEEP_ERROR = 200e-6, 0.01
"""A sleep ends late by up to this many seconds and this share of it, so the last part is spent polling."""

_PROBES, _PROBE_S = 20, 1e-3


async def pump(link: Link, source: socket.socket, sink: socket.socket) -> None:
    """Transfer one direction of one connection, including its end."""
    loop = asyncio.get_running_loop()
    in_transit: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_MOST_PIECES)

    async def deliver() -> None:
        while True:
            due, piece = await in_transit.get()
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
            await in_transit.put((arrived, piece))


async def own_delay_s() -> float:
    """Return the least delay that this process itself adds to a direction; it is part of the delay asked for.

    It is the least of several probes, so that a busy moment does not make the network too fast.
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
