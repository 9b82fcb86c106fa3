"""A TCP proxy that spoils what passes through it, on purpose: delay, rate, cut, reset, stall, flipped bit.

    python -m tests.faults.proxy --to 127.0.0.1:8001 --delay-ms 20

prints the port it listens at, and ends with its standard input.

Bytes are counted in each direction from the moment that `fail` is called, over all connections, and the fault then
happens once; what comes later passes, so that a test can see whether the next request works. Delay and rate hold for
both directions until they are changed. The delay is on top of the path's own: TCP itself sees none of it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import struct
import sys
import threading
from math import inf
from typing import Literal

CHUNK_BYTES, CHUNKS = 16 << 10, 64
"""Read at a time, and held at most in a direction of one connection: a slow link pushes back on the sender."""

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: closing sends RST."""

Kind = Literal["cut", "reset", "stall", "flip"]


class Link:
    """One direction, shared by all connections. Change it from any thread."""

    def __init__(self, delay_s: float = 0.0, rate_bps: float = inf) -> None:
        self.delay_s, self.rate_bps = delay_s, rate_bps
        self.failed = threading.Event()
        self.passed = 0
        self._free_at = 0.0
        self._fault: Kind | None = None
        self._left = 0

    def fail(self, fault: Kind, after: int) -> None:
        """Have this fault once, when so many further bytes have passed; `failed` is set then."""
        self.failed.clear()
        self._left, self._fault = after, fault

    def take(self, chunk: bytes) -> tuple[bytes, Kind | None, bytes]:
        """What passes, what happens then, and what was to follow."""
        if self._fault is None or len(chunk) <= self._left:
            self._left -= len(chunk)
            self.passed += len(chunk)
            return chunk, None, b""
        head, rest, fault = chunk[: self._left], chunk[self._left :], self._fault
        self._fault = None
        self.passed += len(head)
        if fault == "flip":
            rest = bytes((rest[0] ^ 1,)) + rest[1:]
        self.failed.set()
        return head, fault, rest

    def due(self, now: float, n_bytes: int) -> float:
        """When bytes that came now arrive at the other end, one after the other at the link's rate."""
        self._free_at = max(now, self._free_at) + 8 * n_bytes / self.rate_bps
        return self._free_at + self.delay_s


class Proxy:
    """Listens on loopback and forwards to one address, from a thread of its own; use it in a `with`.

    Attributes:
        up: Direction from the client to the server.
        down: Direction from the server to the client.
    """

    def __init__(self, host: str, port: int, delay_s: float = 0.0, rate_bps: float = inf) -> None:
        self.up, self.down = Link(delay_s, rate_bps), Link(delay_s, rate_bps)
        self._to = (host, port)
        self._loop = asyncio.new_event_loop()
        self._healed = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._connect, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def heal(self) -> None:
        """Let go on what has stalled: it arrives late."""
        self._loop.call_soon_threadsafe(self._heal)

    def drop_all(self) -> None:
        """Reset every connection that there is."""
        asyncio.run_coroutine_threadsafe(self._drop_all(), self._loop).result(10)

    def _heal(self) -> None:
        self._healed.set()
        self._healed = asyncio.Event()

    async def _drop_all(self) -> None:
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _stop(self) -> None:
        self._server.close()
        await self._drop_all()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        ends = [writer]
        try:
            onward, back = await asyncio.open_connection(*self._to)
            ends.append(back)
            for end in ends:
                end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pumps = [
                asyncio.create_task(self._pump(self.up, reader, back)),
                asyncio.create_task(self._pump(self.down, onward, writer)),
            ]
            try:
                done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                reset = any(pump.exception() or pump.result() == "reset" for pump in done)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            reset = True
        finally:
            self._connections.discard(task)
        for end in ends:
            if reset:
                with contextlib.suppress(OSError):
                    end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                end.transport.abort()
            end.close()

    async def _pump(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Kind | None:
        """Carry one direction until its end; what ended it."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS)

        async def deliver() -> None:
            while True:
                due, chunk = await waiting.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                writer.write(chunk)
                await writer.drain()
                waiting.task_done()

        async def carry() -> Kind | None:
            while chunk := await reader.read(CHUNK_BYTES):
                passing, fault, rest = link.take(chunk)
                for part in (passing, rest):
                    if part is rest and fault in ("cut", "reset"):
                        return fault
                    if part is rest and fault == "stall":
                        await self._healed.wait()
                    if part:
                        await waiting.put((link.due(self._loop.time(), len(part)), part))
            return None

        async with asyncio.TaskGroup() as group:
            delivering = group.create_task(deliver())
            ended = await carry()
            await waiting.join()
            delivering.cancel()
        return ended


def main() -> None:
    """Serve until standard input ends, so that the proxy never outlives its parent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", required=True, metavar="HOST:PORT")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="in each direction")
    parser.add_argument("--rate-mbps", type=float, default=inf, help="in each direction")
    options = parser.parse_args()
    host, _, port = options.to.rpartition(":")
    with Proxy(host, int(port), options.delay_ms / 1e3, options.rate_mbps * 1e6) as proxy:
        print(proxy.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
