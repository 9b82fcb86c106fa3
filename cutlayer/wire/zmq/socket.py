"""A ZeroMQ socket that several threads use: one waits for messages, any of them sends.

ZeroMQ allows one thread at a time in a socket, and a thread that waits inside would block the others. So a thread waits
on the socket's file descriptor, outside the lock. The descriptor signals changes only, and the signal is lost when any
thread uses the socket. So a thread checks that no message is there before it waits, and a thread that uses the socket
meanwhile wakes it if a message has arrived.
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
from cutlayer.wire.zmq.frames import COPY_BELOW_BYTES, MOST_FRAMES

# Plain numbers, because each use of a pyzmq enumeration takes as long as the call itself.
_DO_NOT_WAIT, _SEND_MORE = int(zmq.DONTWAIT), int(zmq.DONTWAIT | zmq.SNDMORE)
_IN, _SOURCE, _MORE = int(zmq.POLLIN), int(zmq.SRCFD), int(zmq.RCVMORE)
_USER, _HOST = "User-Id", "Peer-Address"

NOWHERE = -1
"""Stands for the descriptor of an unknown connection."""

# The method of the base class skips what pyzmq adds for other kinds of sockets.
_transmit: Any = zmq.backend.Socket.send
_take: Any = zmq.backend.Socket.recv
_option: Any = zmq.backend.Socket.get

_PASSED_OVER = 1024
"""Frames that are passed over before other threads may send."""


class SharedSocket:
    """Owns a socket and the lock around it. A method that needs the lock held says so."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.socket: Any = None
        self.source = NOWHERE
        self._last: Any = None
        self._extra_descriptor = -1
        self._on_extra: Callable[[], None] = lambda: None
        self._awaited = False
        self._alarm, self._ring = socket.socketpair()
        self._alarm.setblocking(False)
        self._ring.setblocking(False)
        self._alarm_descriptor = self._alarm.fileno()
        self._poller = select.poll()
        self._poller.register(self._alarm_descriptor, select.POLLIN)

    def hold(self, socket: Any) -> None:
        """Use this socket from now on. Hold the lock."""
        self.socket, self._readable = socket, [(socket, _IN)]
        self._descriptor = int(socket.fd)
        self._poller.register(self._descriptor, select.POLLIN)

    def drop(self, linger_ms: int = 0) -> None:
        """Close the socket. Hold the lock."""
        self._poller.unregister(self._descriptor)
        if self._extra_descriptor >= 0:
            self._poller.unregister(self._extra_descriptor)
        self.socket.close(linger=linger_ms)
        self.wake()

    def watch(self, descriptor: int, on_ready: Callable[[], None]) -> None:
        """Let `wait` call a function when this descriptor is readable, too. Hold the lock."""
        self._extra_descriptor, self._on_extra = descriptor, on_ready
        self._poller.register(descriptor, select.POLLIN)

    def send(self, frames: list[Buffer]) -> None:
        """Put a message into the queue of outgoing messages. Hold the lock.

        Raises:
            zmq.Again: The queue is full.
            zmq.ZMQError: The peer does not exist.
        """
        last = frames.pop()
        try:
            for frame in frames:
                _transmit(self.socket, frame, _SEND_MORE, len(frame) < COPY_BELOW_BYTES)
            _transmit(self.socket, last, _DO_NOT_WAIT, len(last) < COPY_BELOW_BYTES)
        finally:
            # A failed attempt also consumes the signal of the descriptor.
            if self._awaited and self.readable():
                self.wake()

    def readable(self) -> bool:
        """Return whether a message has arrived. Hold the lock."""
        # A poll is faster than the socket option for this, whose value pyzmq converts to an enumeration.
        return bool(zmq.zmq_poll(self._readable, 0))

    def receive(self) -> list[Buffer] | None:
        """Return the frames of a message, large ones not copied; None if no message has arrived. Hold the lock.

        Afterwards `source` is the descriptor of the message's connection, or `NOWHERE`. If it returns `MOST_FRAMES`,
        more of them may have arrived, and `pass_over` must follow.
        """
        frames: list[Buffer] = []
        try:
            more = True
            while more and len(frames) < MOST_FRAMES:
                frame = self.socket.recv(_DO_NOT_WAIT, False)
                data = frame.bytes if len(frame) < COPY_BELOW_BYTES else frame.buffer
                frames.append(data)
                more = frame.more
        except zmq.Again:
            return None
        self._last = frame
        try:
            self.source = frame.get(_SOURCE)
        except zmq.ZMQError:
            # Messages of a ZMTP 1 peer carry no metadata.
            self.source = NOWHERE
        return frames

    def pass_over(self) -> int:
        """Drop the frames of a message that `receive` has left, and return their number. Without the lock.

        They arrive one by one, so others may send meanwhile.
        """
        dropped = 0
        while True:
            with self.lock:
                for _ in range(_PASSED_OVER):
                    if self.socket.closed or not _option(self.socket, _MORE):
                        return dropped
                    _take(self.socket, _DO_NOT_WAIT, True)
                    dropped += 1

    def user(self) -> str:
        """Return the CURVE key of the last message's client if it is on the list, or an empty string."""
        return self._said(_USER)

    def host(self) -> str:
        """Return the address from which the last message came, without port, or an empty string."""
        return self._said(_HOST)

    def _said(self, name: str) -> str:
        """Return what ZeroMQ knew of the connection when the last message arrived on it."""
        try:
            return str(self._last.get(name))
        except zmq.ZMQError:
            return ""

    def about_to_wait(self) -> None:
        """Announce a `wait`, so that other users of the socket wake it. Hold the lock, with no message there."""
        self._awaited = True

    def wait(self, timeout_ms: int) -> None:
        """Wait until a message may be there or `wake` is called. One thread at a time, without the lock."""
        for descriptor, _ in self._poller.poll(timeout_ms):
            if descriptor == self._alarm_descriptor:
                with contextlib.suppress(BlockingIOError):
                    self._alarm.recv(1024)
            elif descriptor == self._extra_descriptor:
                self._on_extra()
        self._awaited = False

    def wake(self) -> None:
        """End the current `wait`, or the next one."""
        with contextlib.suppress(OSError):
            self._ring.send(b"\0")

    def close(self) -> None:
        """Release what `wait` uses, once no thread waits."""
        self._alarm.close()
        self._ring.close()
