"""The relay's process: it forwards connections to one address through an emulated network.

It is a separate process, so that its work does not slow the device that is measured. It ends with its standard input,
so that it never outlives its parent, `cutlayer.network.shaper`.
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
"""SO_LINGER with a time of 0, so that closing sends RST."""

_NEW_NETWORK = 0x40000000
"""CLONE_NEWNET, the kind of namespace to enter."""


class Onward(NamedTuple):
    """The next hop of a connection, and the network before it.

    Attributes:
        host: Name or address of the next hop.
        port: Port of the next hop.
        thread: Thread in the network namespace to connect from; None for this process's own namespace.
        network: Network on the way to it.
        own_s: Part of its delay that the relay itself takes, in seconds.
    """

    host: str
    port: int
    thread: ThreadPoolExecutor | None
    network: Network
    own_s: float = 0.0


async def relay(network: Network, host: str, port: int, cable: list[str] | None) -> None:
    """Print a port of loopback, and forward connections to it until standard input ends.

    Args:
        network: Network to the server; with a cable, the part of it that the cable does not emulate.
        host: Host of the server.
        port: Port of the server.
        cable: Namespaces of the device's and the server's end of a cable, and the address of the server's end; None
            for no cable.
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
        print(first.getsockname()[1], flush=True)
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def _serve(listening: socket.socket, onward: Onward) -> None:
    """Forward all connections to a socket, through one shared network."""
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
    """Forward one connection in both directions until it ends; if one end resets it, reset the other."""
    near.setblocking(False)
    ends = [near]
    try:
        far = await _open(onward)
        ends.append(far)
        for end in ends:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A TCP handshake takes one round trip before the first byte can leave.
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
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(onward.host, onward.port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, address = addresses[0]
    end = await loop.run_in_executor(onward.thread, socket.socket, family, kind, protocol)
    end.setblocking(False)
    try:
        await loop.sock_connect(end, address)
    except BaseException:
        end.close()
        raise
    return end


def _within(namespace: str) -> ThreadPoolExecutor:
    """Return a thread that creates its sockets in a network namespace, and never leaves it."""
    return ThreadPoolExecutor(1, initializer=_enter, initargs=(namespace,))


def _enter(namespace: str) -> None:
    # `os.setns` exists from Python 3.12 on.
    with open(namespace) as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _NEW_NETWORK):
            raise OSError(ctypes.get_errno(), "the network namespace cannot be entered")


def main() -> None:
    """Run `relay` with the arguments that the command line gives as JSON."""
    arguments = json.loads(sys.argv[1])
    # On Ctrl-C the parent ends, and standard input with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # epoll and poll wait for whole milliseconds, rounded up; select waits for microseconds.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        network = Network(**arguments.pop("network"))
        runner.run(relay(network, **arguments))


if __name__ == "__main__":
    main()
