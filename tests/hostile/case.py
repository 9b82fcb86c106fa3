"""What a hostile peer is: a case is one function, which attacks a server from a process of its own.

To add a case, write a function with `@case` into one of `MODULES`, or into a file whose name you add there::

    @case("zmq")
    def many_frames(attack: Attack) -> None:
        \"\"\"Messages of a million frames of one byte.\"\"\"
        with attack.raw() as connection:
            while attack.going():
                with attack.attempt():
                    ...

Its name and the first line of its docstring are what the run prints. It runs until `attack.going()` is False. Each try
is counted by how it ends: what ends in an exception of the wire or of a socket goes by the name of that.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import grpc
import zmq

from cutlayer.edge.client import Edge
from cutlayer.errors import Refused, WireError
from cutlayer.wire.address import Address
from cutlayer.wire.connect import connect
from cutlayer.wire.retry import Retry
from cutlayer.wire.security import PLAIN, Security
from cutlayer.wire.transport import Timeouts, Transport
from tests.tiny_split import edge_at

MODULES = ("cost", "peers")

ONCE = Retry(attempts=1)
FIRST_TRY_S = 10.0


@dataclass
class Attack:
    """What an attacker knows, and how its tries have ended.

    Attributes:
        address: Address of the server.
        folder: Split folder of the server.
        security: Files of a client that the server admits, other than those of the victim.
        seconds: Time of the attack.
    """

    address: Address
    folder: Path
    security: Security = PLAIN
    seconds: float = 1.0
    outcomes: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._until_s = time.monotonic() + self.seconds
        self._opened = ExitStack()
        self._lock = threading.Lock()

    def going(self) -> bool:
        """Return whether the attack goes on; on a busy machine it takes longer until a first try has ended."""
        now_s = time.monotonic()
        return now_s < self._until_s or (not self.outcomes and now_s < self._until_s + FIRST_TRY_S)

    def count(self, outcome: str, n: int = 1) -> None:
        """Count n tries that have ended in this way. Any thread may call it."""
        with self._lock:
            self.outcomes[outcome] += n

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Count one try by how it ends; what fails on the way is not raised."""
        outcome = "done"
        try:
            yield
        except Refused as refused:
            outcome = refused.code
        except grpc.RpcError as error:
            outcome = error.code().name
        except (WireError, OSError, zmq.ZMQError) as error:
            outcome = type(error).__name__
        self.count(outcome)

    def client(self) -> Transport:
        """Return a connection as a device has it, without retries; it is closed after the attack."""
        client = connect(str(self.address), Timeouts(5.0, 20.0), retry=ONCE, security=self.security)
        with self._lock:
            self._opened.callback(client.close)
        return client

    def edge(self, client: Transport) -> Edge:
        """Return a device on a connection."""
        return edge_at(self.folder, client)

    def raw(self) -> socket.socket:
        """Return a bare TCP connection; it is closed after the attack."""
        connection = socket.create_connection((self.address.host, self.address.port), timeout=5)
        with self._lock:
            return self._opened.enter_context(connection)

    def close(self) -> None:
        """Close all connections."""
        self._opened.close()


@dataclass(frozen=True)
class Case:
    """A case: its name, what it does in one sentence, the transports that it attacks, and its function.

    The victim connects anew for each request if `newcomers`. The server may have so many `descriptors` as it says. One
    that is `long` has a test in `tests.wire.test_watch` instead of the short form.
    """

    name: str
    what: str
    transports: tuple[str, ...]
    run: Callable[[Attack], None]
    newcomers: bool = False
    descriptors: int | None = None
    long: bool = False


_cases: dict[str, Case] = {}


def case(
    *transports: str, newcomers: bool = False, descriptors: int | None = None, long: bool = False
) -> Callable[[Callable[[Attack], None]], Callable[[Attack], None]]:
    """Make a function a case, for these transports; for both if none is named. See `Case`."""

    def add(function: Callable[[Attack], None]) -> Callable[[Attack], None]:
        what = (function.__doc__ or "").partition("\n")[0]
        assert what.endswith("."), f"{function.__name__} needs a sentence that says what it does"
        name = function.__name__.replace("_", " ")
        _cases[name] = Case(name, what, transports or ("grpc", "zmq"), function, newcomers, descriptors, long)
        return function

    return add


def cases() -> dict[str, Case]:
    """Return all cases by name."""
    for module in MODULES:
        import_module(f"tests.hostile.{module}")
    return _cases
