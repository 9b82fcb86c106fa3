"""The limits of a server that its library has no option for: connections, and the bytes of unfinished messages.

gRPC and ZeroMQ accept any number of connections, and keep a message in memory until its last byte has arrived. Neither
tells a server how far it is. So a thread beside them looks at the connections themselves, some times a second: how many
each network has, and how many bytes have arrived on each beyond its finished messages. It ends those that are too many.
Nothing lies in the way of a message, so the limits cost no latency. In turn they hold only from one look to the next.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cutlayer.machine.compute import give_back_memory, resident_bytes
from cutlayer.wire.message import MAX_MESSAGE_BYTES
from cutlayer.wire.peer import name, network
from cutlayer.wire.places import may_take
from cutlayer.wire.sockets import Key, Sockets
from cutlayer.wire.visitors import Visitors

log = logging.getLogger("cutlayer.wire.watch")

LOOK_S, AGAIN_S, LOOK_SHARE = 0.05, 0.01, 0.05
"""Time between two looks, that after a look that has ended connections, and the largest share of time of all looks."""

GIVE_BACK_S = 0.5
"""Time after which the memory of an unfinished message goes back to the system, once its connection is closed."""

MAX_CONNECTIONS = 1024
KEPT_DESCRIPTORS = 24
"""Descriptors that connections never take: for files, threads, and connections between two looks."""

MAX_UNFINISHED_BYTES = MAX_MESSAGE_BYTES + (MAX_MESSAGE_BYTES >> 6)
"""Bytes of unfinished messages of all connections: those of one message of the largest size, with its framing."""

MAX_OVERHEAD_BYTES = 128 << 20
"""Memory beyond those bytes."""

SLACK_BYTES = 64 << 10
"""Unfinished bytes of a connection that count as none."""

FRAMING_SHARE, FRAMING_BYTES, FRAMING_BYTES_S = 0.01, 512, 256
"""Bytes of framing, encryption and heartbeats: a share of each message, an addition to each, and some each second."""

BARRED_S = 60.0
"""Time without new connections for a network that sent what no client sends."""


@dataclass
class _Connection:
    """One connection.

    Attributes:
        name: Its address, for the log.
        network: See `cutlayer.wire.peer.Peer`.
        since_s: Time at which it was first seen.
        heard: Whether a message has arrived on it.
        received: Bytes that have arrived at the last look.
        unfinished: Those of them that belong to no finished message.
        stalled_since_s: Time of the last finished message or of few unfinished bytes.
        resident_before: Memory of this process at that time, in bytes.
        ended: Whether it was ended and is about to be closed.
    """

    name: str
    network: str
    since_s: float
    stalled_since_s: float
    resident_before: int = 0
    heard: bool = False
    received: int = 0
    unfinished: float = 0.0
    ended: bool = False


class Watch:
    """Ends connections of one server that are over its limits. Any thread may use it; close it after use.

    Args:
        visitors: The log of the server.
        stall_s: Time after which a message that does not get finished ends its connection.
        ended: Called with the ``host:port`` of each connection that it ends.
        clock: Monotonic clock, in seconds.
    """

    def __init__(
        self,
        visitors: Visitors,
        stall_s: float,
        ended: Callable[[str], None] = lambda name: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._visitors, self._stall_s, self._ended, self._clock = visitors, stall_s, ended, clock
        # Messages that have arrived since the last look; a queue in C, because a lock would delay the messages.
        self._arrived: deque[tuple[str, int]] = deque()
        self._connections: dict[Key, _Connection] = {}
        self._unread: list[str] = []
        self._barred: dict[str, float] = {}
        self._to_end: deque[tuple[str, str, str]] = deque()
        self._last_s = clock()
        self._n_ended = 0
        self._give_back_s: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="connections", daemon=True)

    def start(self, port: int, also: Callable[[], None], reading: Callable[[], bool] = lambda: True) -> None:
        """Begin to watch the connections of a port.

        Args:
            port: The port.
            also: Called before each look.
            reading: Whether the server reads from its connections now.
        """
        self._also, self._reading = also, reading
        self._sockets = Sockets(port)
        self._thread.start()

    def arrived(self, name: str, nbytes: int) -> None:
        """Note a finished message from the client at this ``host:port``."""
        self._arrived.append((name, nbytes))

    @contextmanager
    def unread(self, name: str) -> Iterator[None]:
        """Forgive a connection that its messages do not get finished while this server does not read them."""
        self._unread.append(name)
        try:
            yield
        finally:
            self._unread.remove(name)

    def end(self, name: str, reason: str, why: str) -> None:
        """End the connection of the client at this ``host:port``. See `Visitors.turned_away`."""
        self._to_end.append((name, reason, why))

    def end_all(self, reason: str, why: str) -> None:
        """End all connections, so that their clients are checked again. See `Visitors.turned_away`."""
        self._to_end.append(("", reason, why))

    def bar(self, name: str, network: str, why: str) -> None:
        """End a connection, and take no new ones from its network for `BARRED_S`."""
        self._barred[network] = self._clock() + BARRED_S
        self._give_back_s = self._clock() + GIVE_BACK_S
        self.end(name, "limit", why)

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        pause_s = LOOK_S
        while not self._stop.wait(pause_s):
            began = time.thread_time()
            try:
                self._also()
                self.look()
            except Exception:
                log.exception("the connections could not be looked at")
            pause_s = max(AGAIN_S if self._n_ended else LOOK_S, (time.thread_time() - began) / LOOK_SHARE)
            self._n_ended = 0

    def look(self) -> None:
        """Look at all connections once."""
        now = self._clock()
        elapsed_s, self._last_s = now - self._last_s, now
        # Before the counts of the system, so that a message is never counted here and not yet there.
        finished = self._finished()
        self._resident = resident_bytes()
        self._update(now)
        for key, connection in self._connections.items():
            self._count(key, connection, finished, now, elapsed_s)
        self._end_named()
        self._end_barred(now)
        self._end_crowd()
        self._end_stalled(now)
        self._end_unfinished()

    def _finished(self) -> dict[str, tuple[int, float]]:
        """Return the number of the messages since the last look, and their bytes with framing, by name."""
        finished: dict[str, tuple[int, float]] = {}
        for _ in range(len(self._arrived)):
            name, nbytes = self._arrived.popleft()
            number, total = finished.get(name, (0, 0.0))
            finished[name] = number + 1, total + nbytes * (1 + FRAMING_SHARE) + FRAMING_BYTES
        return finished

    def _update(self, now: float) -> None:
        ends = self._sockets.look()
        gone = [key for key in self._connections if key not in ends]
        for key in gone:
            if self._connections.pop(key).unfinished > SLACK_BYTES and self._give_back_s is None:
                # Its library frees the memory a little later.
                self._give_back_s = now + GIVE_BACK_S
        if self._give_back_s is not None and now > self._give_back_s:
            self._give_back_s = None
            give_back_memory()
        for key, (host, port) in ends.items():
            if key not in self._connections:
                self._connections[key] = _Connection(name(host, port), network(host), now, now, self._resident)

    def _count(
        self,
        key: Key,
        connection: _Connection,
        finished: dict[str, tuple[int, float]],
        now: float,
        elapsed_s: float,
    ) -> None:
        number, nbytes = finished.get(connection.name, (0, 0.0))
        received = max(self._sockets.received(key), connection.received)
        new = received - connection.received - nbytes - FRAMING_BYTES_S * elapsed_s
        connection.received = received
        connection.unfinished = max(0.0, connection.unfinished + new)
        connection.heard = connection.heard or number > 0
        finishes = number > 0 or connection.unfinished <= SLACK_BYTES
        if finishes:
            connection.resident_before = self._resident
        if finishes or not self._reading() or connection.name in self._unread:
            connection.stalled_since_s = now
        # Memory that was given back meanwhile does not hide what has come since.
        connection.resident_before = min(connection.resident_before, self._resident)

    def _open(self) -> list[tuple[Key, _Connection]]:
        return [item for item in self._connections.items() if not item[1].ended]

    def _end(self, key: Key, connection: _Connection, reason: str, why: str) -> None:
        connection.ended = True
        self._n_ended += 1
        self._ended(connection.name)
        self._sockets.end(key)
        self._visitors.turned_away(connection.name, reason, why)

    def _end_named(self) -> None:
        named = {}
        for _ in range(len(self._to_end)):
            name, reason, why = self._to_end.popleft()
            named[name] = reason, why
        for key, connection in self._open() if named else ():
            if said := named.get(connection.name) or named.get(""):
                self._end(key, connection, *said)

    def _end_barred(self, now: float) -> None:
        self._barred = {network: until_s for network, until_s in self._barred.items() if now < until_s}
        for key, connection in self._open() if self._barred else ():
            if connection.network in self._barred and not connection.heard:
                self._end(key, connection, "limit", f"its network is barred for {BARRED_S:g} s.")

    def _end_crowd(self) -> None:
        """End connections of the networks that have too many: the silent ones first, then the newest."""
        is_open = self._open()
        held = Counter(connection.network for _, connection in is_open)
        free = min(MAX_CONNECTIONS, max(1, self._sockets.room(KEPT_DESCRIPTORS))) - len(is_open)
        # As if each connection had taken its place when it came.
        if all(may_take(n - 1, free + 1) for n in held.values()):
            return
        is_open.sort(key=lambda item: (item[1].heard, item[1].since_s if not item[1].heard else -item[1].since_s))
        for key, connection in is_open:
            if not may_take(held[connection.network] - 1, free + 1):
                self._end(key, connection, "limit", "there are too many connections from its address.")
                held[connection.network] -= 1
                free += 1

    def _end_stalled(self, now: float) -> None:
        for key, connection in self._open():
            if now - connection.stalled_since_s > self._stall_s:
                why = f"its message of {connection.unfinished / 1e6:.1f} MB so far does not get finished."
                self._end(key, connection, "limit", why)

    def _end_unfinished(self) -> None:
        """End connections with unfinished messages of the network that has most of them, until the rest fits.

        Bytes in many small frames take up to 32 times as much memory, so what the process has grown by counts, too.
        """
        large = [item for item in self._open() if item[1].unfinished > SLACK_BYTES]
        total = sum(connection.unfinished for _, connection in large)
        grown = max((self._resident - connection.resident_before for _, connection in large), default=0)
        if total <= MAX_UNFINISHED_BYTES and grown - total <= MAX_OVERHEAD_BYTES:
            return
        fitting = min(total, MAX_UNFINISHED_BYTES) / 2
        by_network: Counter[str] = Counter()
        for _, connection in large:
            by_network[connection.network] += int(connection.unfinished)
        large.sort(key=lambda item: (-by_network[item[1].network], -item[1].unfinished))
        for key, connection in large:
            if total <= fitting:
                break
            why = f"its unfinished messages, {connection.unfinished / 1e6:.0f} MB, are among the largest."
            self._end(key, connection, "limit", why)
            total -= connection.unfinished
