"""The relay's process: it carries every connection to one address, through a network.

It is a process of its own, so that its CPU time is not taken from the device that is measured, and it ends with its
standard input, so that it never outlives the process that started it. `cutlayer.network.shaper` starts it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import selectors
import signal
import socket
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from math import inf
from random import Random
from typing import NamedTuple

from cutlayer.network.link import Link
from cutlayer.network.profiles import Network
from cutlayer.network.pump import own_delay_s, pump

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER for no time: closing sends RST."""

_NEW_NETWORK = 0x40000000
"""CLONE_NEWNET: the kind of namespace that is entered."""


class Onward(NamedTuple):
    """Where a connection is carried, and the network on the way.

    Attributes:
        thread: Thread within the network namespace to connect from; None for the namespace of this process.
        network: Network on the way.
        own_s: Part of the network's delay that the relay itself takes.
    """

    host: str
    port: int
    thread: ThreadPoolExecutor | None
    network: Network
    own_s: float = 0.0


async def relay(network: Network, host: str, port: int, cable: list[str] | None) -> None:
    """Print a port of loopback, and carry what connects to it until standard input ends.

    Args:
        network: Network between device and server; with a cable, what the cable leaves to the relay.
        host: Name or address of the server.
        port: Port of the server.
        cable: Files of the namespaces of its two ends, the device's first, and the address of the second end.
    """
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=128))
        own_s = await own_delay_s() if network.delay_s else 0.0
        ways = [(first, Onward(host, port, None, network, own_s))]
        if cable is not None:
            near, far = (stack.enter_context(_within(namespace)) for namespace in cable[:2])
            second = await loop.run_in_executor(far, socket.create_server, (cable[2], 0))
            stack.enter_context(second)
            ways = [
                (first, Onward(cable[2], second.getsockname()[1], near, network, 2 * own_s)),
                (second, Onward(host, port, None, Network("none", inf, inf))),
            ]
        running = asyncio.gather(*[_serve(listening, onward) for listening, onward in ways])
        loop.add_reader(sys.stdin, lambda: os.read(sys.stdin.fileno(), 1) or running.cancel())
        print(first.getsockname()[1], flush=True)  # noqa: T201 - for the process that started this one
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def _serve(listening: socket.socket, onward: Onward) -> None:
    """Carry every connection, all of them through one network."""
    loop, random, network = asyncio.get_running_loop(), Random(), onward.network
    delay_s = max(0.0, network.delay_s - onward.own_s)
    up, down = (
        Link(rate_bps, delay_s, network.jitter_s, network.loss, network.rtt_s, random)
        for rate_bps in (network.up_bps, network.down_bps)
    )
    listening.setblocking(False)
    async with asyncio.TaskGroup() as connections:
        while True:
            near, _ = await loop.sock_accept(listening)
            connections.create_task(_connect(near, onward, up, down))


async def _connect(near: socket.socket, onward: Onward, up: Link, down: Link) -> None:
    """Carry one connection both ways until both ends are done, or reset both ends when one is reset."""
    near.setblocking(False)
    ends = [near]
    try:
        far = await _open(onward)
        ends.append(far)
        for end in ends:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # On a real network, a client waits for the answer to its SYN before the first byte may leave.
        await asyncio.sleep(onward.network.rtt_s)
        async with asyncio.TaskGroup() as pumps:
            pumps.create_task(pump(up, near, far))
            pumps.create_task(pump(down, far, near))
    except* OSError:
        for end in ends:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    finally:
        for end in ends:
            end.close()


async def _open(onward: Onward) -> socket.socket:
    """Connect to the first address of the host that takes the connection; raise the OSError of the last one."""
    loop = asyncio.get_running_loop()
    rows = await loop.getaddrinfo(onward.host, onward.port, type=socket.SOCK_STREAM)
    for left, (family, kind, protocol, _, address) in zip(reversed(range(len(rows))), rows, strict=True):
        end = await loop.run_in_executor(onward.thread, socket.socket, family, kind, protocol)
        end.setblocking(False)
        try:
            await loop.sock_connect(end, address)
            return end
        except BaseException as error:
            end.close()
            if not (left and isinstance(error, OSError)):
                raise
    raise AssertionError("getaddrinfo returns an address or raises.")


def _within(namespace: str) -> ThreadPoolExecutor:
    """A thread in a network namespace, where the sockets that it makes stay; it needs no right to come back."""

    def enter() -> None:
        # `os.setns` comes with Python 3.12.
        with open(namespace) as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _NEW_NETWORK):
                raise OSError(ctypes.get_errno(), "no entry into a network namespace")

    return ThreadPoolExecutor(1, initializer=enter)


def main() -> None:
    """Relay with the arguments of `relay`, which are a JSON object on the command line."""
    options = json.loads(sys.argv[1])
    # Ctrl-C is for the process that started this one, and the end of standard input follows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # epoll and poll wait in whole milliseconds, rounded up; select does in microseconds.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(relay(Network(**options.pop("network")), **options))


if __name__ == "__main__":
    main()
