"""A ZeroMQ socket that several threads use: one waits for messages, any of them sends.

A socket is no thing for two threads at a time, and a thread that waits inside it would keep the others out. So the
waiting is done on the socket's file descriptor, outside the lock. That descriptor tells of changes only, and tells
whoever uses the socket next: so one sees for himself that no message is there before he waits, and whoever uses the
socket meanwhile wakes him if one has come.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable
from typing import Any

import zmq

from cutlayer.wire.codecs.base import Buffer
from cutlayer.wire.zmq.frames import COPY_BELOW_BYTES

# Plain numbers: at each use, pyzmq's enumerations cost as much as the call they are for.
_DO_NOT_WAIT, _SEND_MORE = int(zmq.DONTWAIT), int(zmq.DONTWAIT | zmq.SNDMORE)
_IN, _SOURCE = int(zmq.POLLIN), int(zmq.SRCFD)

NOWHERE = -1
"""In place of a connection's descriptor, where none is known."""

# Without what pyzmq adds for sockets of other kinds.
_transmit: Any = zmq.backend.Socket.send


class SharedSocket:
    """Holds a socket, and owns it. What is called with the lock held says so."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.socket: Any = None
        self.source = NOWHERE
        self._aside = -1
        self._look: Callable[[], None] = lambda: None
        self._awaited = False
        self._alarm, self._ring = socket.socketpair()
        self._alarm.setblocking(False)
        self._ring.setblocking(False)
        self._alarm_descriptor = self._alarm.fileno()
        self._poller = select.poll()
        self._poller.register(self._alarm_descriptor, select.POLLIN)

    def hold(self, made: Any) -> None:
        """Take this socket from here on; with the lock held."""
        self.socket, self._readable = made, [(made, _IN)]
        self._descriptor = int(made.fd)
        self._poller.register(self._descriptor, select.POLLIN)

    def drop(self, linger_ms: int = 0) -> None:
        """End the socket; with the lock held."""
        self._poller.unregister(self._descriptor)
        if self._aside >= 0:
            self._poller.unregister(self._aside)
        self.socket.close(linger=linger_ms)
        self.wake()

    def watch(self, descriptor: int, look: Callable[[], None]) -> None:
        """Have the thread that waits look aside when this descriptor stirs too; with the lock held."""
        self._aside, self._look = descriptor, look
        self._poller.register(descriptor, select.POLLIN)

    def send(self, frames: list[Buffer]) -> None:
        """Put a message into the queue of outgoing ones; with the lock held.

        Raises:
            zmq.Again: The queue is full.
            zmq.ZMQError: There is no such peer.
        """
        last = frames.pop()
        try:
            for frame in frames:
                _transmit(self.socket, frame, _SEND_MORE, len(frame) < COPY_BELOW_BYTES)
            _transmit(self.socket, last, _DO_NOT_WAIT, len(last) < COPY_BELOW_BYTES)
        finally:
            # An attempt that fails uses the socket too.
            if self._awaited and self.readable():
                self.wake()

    def readable(self) -> bool:
        """Whether a message is there; with the lock held."""
        # By poll, for to ask for the option of the same meaning, pyzmq makes an enumeration's member of its number.
        return bool(zmq.zmq_poll(self._readable, 0))

    def receive(self) -> list[Buffer] | None:
        """The frames of a message, large ones not copied; None when none is there; with the lock held.

        `source` is the descriptor of the connection that it came by, or `NOWHERE`.
        """
        frames: list[Buffer] = []
        try:
            more = True
            while more:
                frame = self.socket.recv(_DO_NOT_WAIT, False)
                data = frame.bytes if len(frame) < COPY_BELOW_BYTES else frame.buffer
                frames.append(data)
                more = frame.more
        except zmq.Again:
            return None
        try:
            self.source = frame.get(_SOURCE)
        except zmq.ZMQError:
            # A peer of ZMTP 1, whose messages carry nothing beside their bytes.
            self.source = NOWHERE
        return frames

    def about_to_wait(self) -> None:
        """Be woken by whoever else uses the socket; with the lock held, once no message is there."""
        self._awaited = True

    def wait(self, timeout_ms: int) -> None:
        """Until a message may be there, or `wake` is called; without the lock, by one thread at a time."""
        for descriptor, _ in self._poller.poll(timeout_ms):
            if descriptor == self._alarm_descriptor:
                with contextlib.suppress(BlockingIOError):
                    self._alarm.recv(1024)
            elif descriptor == self._aside:
                self._look()
        self._awaited = False

    def wake(self) -> None:
        """End the present `wait`, or the next one."""
        with contextlib.suppress(OSError):
            self._ring.send(b"\0")

    def close(self) -> None:
        """Give up what `wait` needs, once nobody waits."""
        self._alarm.close()
        self._ring.close()
