"""A training on this machine with a process for the server and one for each client, started as a user would."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from signal import Signals

from cutlayer.deployment.processes import ERROR, last_line, stop, tied
from cutlayer.edge.training.session import AGAIN
from cutlayer.edge.training.watch import SUSPECTS
from cutlayer.errors import Unreachable
from cutlayer.protocols.plan import TrainingPlan
from cutlayer.records.training import PLAN
from cutlayer.wire.visitors import ARRIVED, REFUSED, WITHHELD

RESTARTS = 3
"""How often a process that was killed is started again."""

START_S = 600.0
"""Longest time in seconds until the server listens: it loads the data, and the machine may be busy."""

LOOK_S = 0.2
"""Time between two looks at the processes, in seconds."""


def processes(
    plan: TrainingPlan,
    transport: str,
    *,
    out: Path,
    data_root: Path | None,
    resume: bool,
    compare: bool,
    log: Sequence[str],
    tell: Callable[[str], None],
    say: Callable[[str], None],
) -> None:
    """Train with a process for the server and one for each client, which reach each other over the loopback.

    A process that is killed by a signal is started again and goes on. What a party says is in the file ``log.txt`` in
    its folder; `say` gets what the server says, such as who waits for whom, and which clients miss the server.

    Args:
        plan: The plan, whose file is in the folder of the run.
        transport: zmq or grpc.
        out: Folder of all runs.
        data_root: Folder of the data sets that are not embedded.
        resume: Whether to go on with an interrupted run.
        compare: Whether the server compares the result at the end.
        log: Where else the rounds are written; see `cutlayer.cloud.training.trackers`.
        tell: Called with each line that the server prints.
        say: Called with each line of progress.

    Raises:
        Unreachable: A party has failed; the message holds its last line.
    """
    folder = out / plan.id
    common = ["--out", out, *(["--data-root", data_root] if data_root else [])]
    serve = [
        "cloud",
        "--train",
        folder / PLAN,
        *common,
        *([] if compare else ["--no-compare"]),
        *(word for name in log for word in ("--log", name)),
    ]
    with ExitStack() as opened:
        server = opened.enter_context(Supervised("the server", folder / "server" / "log.txt", of_the_server, tell))
        server.start(*serve, "--listen", f"{transport}://127.0.0.1:0", *(["--resume"] if resume else []))
        address = server.ready()
        say(f"the server listens at {address}; starting {plan.clients} client{'s'[: plan.clients > 1]}")
        clients = [
            opened.enter_context(Supervised(f"client {k}", folder / f"client-{k}" / "log.txt", of_a_client))
            for k in range(1, plan.clients + 1)
        ]
        for number, client in enumerate(clients, 1):
            whose = f"{number}/{plan.clients}"
            client.start("edge", "--train", "--client", whose, "--connect", address, "--plan", folder / PLAN, *common)
        parties = (server, *clients)
        while not all(party.ended for party in parties):
            time.sleep(LOOK_S)
            pass_on(parties, say)
            for party in parties:
                if not party.failed:
                    continue
                if party.killed and party.starts <= RESTARTS:
                    say(f"{party.name} was ended by {party.killed}; it is started again, and goes on")
                    again = [*serve, "--listen", address, "--resume"] if party is server else []
                    party.start(*again)
                elif party is server or plan.stragglers == "wait":
                    raise Unreachable(f"{party.name} has failed: {party.last_line()}")
                else:
                    say(f"{party.name} has failed, and the others go on: {party.last_line()}")
                    party.given_up = True
        pass_on(parties, say)


def of_the_server(line: str) -> bool:
    """Whether a line of the server's log concerns others: all but those on its visitors, which are the clients."""
    return not any(words in line for words in (ARRIVED, REFUSED, WITHHELD))


def of_a_client(line: str) -> bool:
    """Whether a line of a client's log concerns others: that the server is not there, or is suspected."""
    return AGAIN in line or SUSPECTS in line


def pass_on(parties: Sequence[Supervised], say: Callable[[str], None]) -> None:
    """Say what the parties have said since the last look; one line for those that say the same."""
    said: dict[str, list[str]] = {}
    for party in parties:
        for line in party.news():
            said.setdefault(line, []).append(party.name)
    for line, names in said.items():
        # A client's own lines begin with its name.
        say(line if line.startswith(f"{names[0]}/") else f"{', '.join(names)}: {line}")


class Supervised:
    """One process of a training; closed, it is ended.

    Args:
        name: What it is, for messages.
        log: File that gets what it says.
        tell: Called with each line that it prints; None where nobody reads them.
        concerns: Whether a line of its log concerns others.

    Attributes:
        starts: How often it was started.
        given_up: Whether it is not waited for any more.
    """

    def __init__(
        self, name: str, log: Path, concerns: Callable[[str], bool], tell: Callable[[str], None] | None = None
    ) -> None:
        self.name, self.starts, self.given_up = name, 0, False
        self._log, self._tell, self._words = log, tell, tuple[object, ...]()
        self._address: list[str] = []
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        self._concerns, self._read_bytes = concerns, log.stat().st_size

    def __enter__(self) -> Supervised:
        return self

    def __exit__(self, *_: object) -> None:
        if self.starts and self._process.poll() is None:
            stop(self._process)

    def start(self, *words: object) -> None:
        """Start it, with the words of the first time if none are given."""
        self._words = words or self._words
        self.starts += 1
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                tied("cutlayer.cli", *self._words),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if self._tell else log, stderr=log, text=True,
            )  # fmt: skip
        if self._tell:
            self._reader = threading.Thread(target=self._read, daemon=True)
            self._reader.start()

    def ready(self) -> str:
        """Wait until it listens, and return its address.

        Raises:
            Unreachable: It ended before.
        """
        until = time.monotonic() + START_S
        while not self._address:
            if self._process.poll() is not None or time.monotonic() > until:
                raise Unreachable(f"{self.name} did not get ready: {self.last_line()}")
            time.sleep(LOOK_S / 4)
        return self._address[0]

    @property
    def failed(self) -> bool:
        """Whether it ended otherwise than well, and is still waited for."""
        return not self.given_up and self._process.poll() not in (None, 0)

    @property
    def killed(self) -> str:
        """The signal that ended it; empty where none did."""
        code = self._process.poll() or 0
        return Signals(-code).name if code < 0 else ""

    @property
    def ended(self) -> bool:
        """Whether it has ended well, or is not waited for any more, and all that it printed was told."""
        done = self.given_up or self._process.poll() == 0
        return done and not (self._tell and self._reader.is_alive())

    def news(self) -> Iterator[str]:
        """The whole lines of its log since the last call that concern others, but for its error."""
        with self._log.open("rb") as log:
            log.seek(self._read_bytes)
            for line in log:
                if not line.endswith(b"\n"):
                    return
                self._read_bytes += len(line)
                text = line.decode(errors="replace").strip()
                if text and self._concerns(text) and not text.startswith(ERROR):
                    yield text

    def last_line(self) -> str:
        """The last line that it said."""
        with self._log.open() as log:
            return last_line(log)

    def _read(self) -> None:
        assert self._process.stdout is not None
        assert self._tell is not None
        for line in self._process.stdout:
            if line.startswith("ready "):
                self._address = [line.split()[1]]
            else:
                self._tell(line.rstrip("\n"))
