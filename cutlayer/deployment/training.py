"""A training on this machine: its server and its clients as threads of this process, or as processes of their own."""

from __future__ import annotations

import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path
from signal import Signals

from cutlayer.cloud.training.hosted import Hosted
from cutlayer.deployment.processes import READY_S, last_line, stop, tied
from cutlayer.edge.training.client import Client, run
from cutlayer.edge.training.session import Session
from cutlayer.errors import Unreachable
from cutlayer.protocols.checkpoint import Checkpoints
from cutlayer.protocols.events import Listener, unheard
from cutlayer.protocols.plan import TrainingPlan
from cutlayer.protocols.row import protocol_named
from cutlayer.protocols.setup import Setup
from cutlayer.records.training import PLAN, RoundRecord, TrainingRecord, read, write
from cutlayer.wire.connect import connect, listen
from cutlayer.wire.retry import Retry
from cutlayer.wire.transport import Timeouts

RESTARTS = 3
"""How often a process that was killed is started again."""

LOOK_S = 0.2
"""Time between two looks at the processes, in seconds."""

PATIENCE_S = 0.5
"""Longest silence of a server in this process, which cannot be started again."""

LONG_S = 3600.0
"""Longest time of one ask in this process, where nothing can be lost."""


def in_process(
    setup: Setup,
    folder: Path,
    *,
    told: Callable[[RoundRecord], None] = lambda entry: None,
    on: Listener = unheard,
    before: TrainingRecord | None = None,
) -> TrainingRecord:
    """Train with all parties as threads of this process. The messages are those of the real transports.

    Where the plan has checkpoints, a later call with the same folder goes on after the last one.

    Args:
        setup: The plan and its data.
        folder: Folder of the run.
        told: Called with each round when it is over.
        on: Hears what happens at the server and at the clients.
        before: The record of the run before an interruption.

    Raises:
        Refused: The training has failed; the message says at which client and step.
    """
    plan, times = setup.plan, Timeouts(request_s=LONG_S)
    failures: list[BaseException] = []
    with ExitStack() as opened:
        hosted = Hosted(
            plan, setup.input, setup.classes, setup, folder, "in process", apart=False, told=told, before=before, on=on
        )  # fmt: skip
        opened.callback(hosted.service.drain, 0.0)
        address = f"inprocess://{secrets.token_hex(8)}"
        opened.enter_context(closing(listen(address, hosted.service, times)))

        clients = list[Client]()
        for number in range(1, plan.clients + 1):
            transport = opened.enter_context(closing(connect(address, times, retry=Retry(attempts=1))))
            session = Session(transport, PATIENCE_S, timeouts=times)
            # Here and not in the threads: a model is traced by one thread at a time.
            model, samples = setup.model(), setup.samples(number)
            clients.append(
                Client(plan, number, model, setup.input, len(setup.classes), samples, setup.test, session, on=on)
            )

        def take_part(client: Client) -> None:
            kept = Checkpoints(folder / f"client-{client.number}", plan.id)
            try:
                run(
                    client,
                    lambda client: kept.save(client.rounds, *client.state()),
                    lambda client, round: client.load(*kept.load(round)),
                )
            except BaseException as error:
                failures.append(error)
                hosted.service.drain(0.0)

        threads = [threading.Thread(target=take_part, args=(client,), daemon=True) for client in clients]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            for thread in threads:
                thread.join(0.2)  # so that Ctrl-C is heeded
        record = hosted.end()
    # The others are told that the server has gone.
    if failures:
        raise next((error for error in failures if not isinstance(error, Unreachable)), failures[0])
    return record


def processes(
    plan: TrainingPlan,
    transport: str,
    *,
    out: Path,
    data_root: Path | None,
    resume: bool,
    alone: bool,
    log: Sequence[str],
    tell: Callable[[str], None],
    say: Callable[[str], None],
) -> None:
    """Train with a process for the server and one for each client, which reach each other over the loopback.

    A process that is killed by a signal is started again and goes on. What a client says is in the file ``log.txt`` in
    its folder.

    Args:
        plan: The plan, whose file is in the folder of the run.
        transport: zmq or grpc.
        out: Folder of all runs.
        data_root: Folder of the data sets that are not embedded.
        resume: Whether to go on with an interrupted run.
        alone: Whether the server trains each client alone as well, at the end.
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
        *([] if alone else ["--no-alone"]),
        *(word for name in log for word in ("--log", name)),
    ]
    with ExitStack() as opened:
        server = opened.enter_context(Party("the server", folder / "server" / "log.txt", tell))
        server.start(*serve, "--listen", f"{transport}://127.0.0.1:0", *(["--resume"] if resume else []))
        address = server.ready()
        say(f"the server listens at {address}; starting {plan.clients} client{'s'[: plan.clients > 1]}")
        clients = [
            opened.enter_context(Party(f"client {k}", folder / f"client-{k}" / "log.txt"))
            for k in range(1, plan.clients + 1)
        ]
        for number, client in enumerate(clients, 1):
            whose = f"{number}/{plan.clients}"
            client.start("edge", "--train", "--client", whose, "--connect", address, "--plan", folder / PLAN, *common)
        while not all(party.ended for party in (server, *clients)):
            time.sleep(LOOK_S)
            for party in (server, *clients):
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


class Party:
    """One process of a training; closed, it is ended.

    Args:
        name: What it is, for messages.
        log: File that gets what it says.
        tell: Called with each line that it prints; None where nobody reads them.

    Attributes:
        starts: How often it was started.
        given_up: Whether it is not waited for any more.
    """

    def __init__(self, name: str, log: Path, tell: Callable[[str], None] | None = None) -> None:
        self.name, self.starts, self.given_up = name, 0, False
        self._log, self._tell, self._words = log, tell, tuple[object, ...]()
        self._address: list[str] = []
        log.parent.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Party:
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
        until = time.monotonic() + READY_S
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


def compared(made: TrainingRecord, setup: Setup, out: Path, say: Callable[[str], None]) -> TrainingRecord:
    """The record of a finished training with what clients reach that train alone, for as many rounds.

    It is kept in a folder of its own; a training with equal clients finds it there.
    """
    plan = setup.plan
    if not made.finished or made.local is not None or plan.clients == 1 or plan.protocol == "local":
        return made
    local = TrainingPlan(
        data=plan.data, model=plan.model, protocol="local", row=protocol_named("local"), clients=plan.clients,
        rounds=plan.rounds, epochs=plan.epochs, batch=plan.batch, seed=plan.seed, threads=plan.threads,
        optimizer=plan.optimizer, optimizer_state="reset" if plan.optimizer_state == "reset" else "keep",
        bn="replaced" if plan.bn == "replaced" else "shared", partition=plan.partition, samples=plan.samples,
        test=plan.test, input=plan.input, checkpoint_rounds=0, evaluate_rounds=plan.rounds, name="each client alone",
    )  # fmt: skip
    folder, record = out / "baselines" / local.id, None
    with suppress(OSError, ValueError, KeyError, TypeError):
        record = read(folder)
    if record is None or not record.finished:
        say("training each client alone, for comparison")
        record = in_process(replace(setup, plan=local), folder)
    assert record.last is not None
    made = replace(made, local=record.last.accuracy, local_mean=record.last.mean)
    write(out / plan.id, made)
    return made
