"""The process of a client that trains: it gets the plan, loads its samples, and takes part to the end."""

from __future__ import annotations

import secrets
import tomllib
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from cutlayer import own
from cutlayer.edge.training.client import Client, run
from cutlayer.edge.training.session import PATIENCE_S, RolledBack, Session
from cutlayer.errors import ConfigError, DecodeError, WireError
from cutlayer.machine.compute import tune_allocator
from cutlayer.protocols.checkpoint import Checkpoints
from cutlayer.protocols.events import Event
from cutlayer.protocols.plan import TrainingPlan, parse
from cutlayer.protocols.private import guarantee
from cutlayer.protocols.recording import Recording
from cutlayer.protocols.setup import prepare
from cutlayer.records.training import TRANSCRIPT
from cutlayer.registry import DATASETS
from cutlayer.wire.connect import connect
from cutlayer.wire.security import PLAIN, Security
from cutlayer.wire.training import CLIENT, READER, Call
from cutlayer.wire.transport import Timeouts, Transport


def take_part(
    address: str,
    number: int,
    of: int | None = None,
    *,
    plan: TrainingPlan | None = None,
    out: Path,
    data_root: Path | None,
    say: Callable[[str], None],
    record: bool = False,
    patience_s: float = PATIENCE_S,
    timeouts: Timeouts | None = None,
    security: Security = PLAIN,
) -> TrainingPlan:
    """Train as one client of the server at an address, until the training has ended.

    Args:
        address: Address of the server.
        number: Number of this client, from 1.
        of: Number of clients that the user expects; None for whatever the plan says.
        plan: The plan; the server's if None.
        out: Folder of all runs, for the checkpoints of this client, by which a later process goes on.
        data_root: Folder of the data sets that are not embedded.
        say: Called with each line of progress.
        record: Whether to keep what this client sees, also where the plan does not say so.
        patience_s: Longest silence of the server in seconds: time to start it again.
        timeouts: Time limits of the transport.
        security: Files for encryption and authentication; plain text if left out.

    Returns:
        The plan.

    Raises:
        ConfigError: The plan has no such client, or names code or files that are not part of cutlayer.
        DataError: The data are missing or damaged.
        Refused: The server refuses this client, or the training has failed.
        Unreachable: The server was silent for longer than the patience.
    """
    tune_allocator()
    with ExitStack() as opened:
        transport = opened.enter_context(closing(connect(address, timeouts, security=security)))
        plan = plan or given_plan(transport, patience_s, timeouts)
        if of not in (None, plan.clients) or number > plan.clients:
            raise ConfigError(
                f"The plan has {plan.clients} clients; client {number}{f' of {of}' if of else ''} was named. State one "
                f"of them, such as --client 1/{plan.clients}."
            )
        setup = prepare(plan, data_root)
        folder = out / plan.id / f"client-{number}"
        checkpoints = Checkpoints(folder, plan.id)
        opened.enter_context(checkpoints.held())
        session = Session(transport, patience_s, checkpoints.secret(), timeouts)
        samples, listener = setup.samples(number), _Listener(folder, say, number, plan, record=record or plan.record)
        client = Client(
            plan, number, setup.model(), setup.input, len(setup.classes), samples, setup.test, session, on=listener
        )
        listener.begin(0)
        say(f"client {number}/{plan.clients}: {plan}, {len(samples):,} samples here")
        if promised := guarantee(plan, len(samples)):
            say(f"client {number}/{plan.clients}: {promised}")

        def restore(client: Client, round: int) -> None:
            client.load(*checkpoints.load(round))
            listener.begin(round)
            say(f"client {number}/{plan.clients}: goes on after round {round}")

        run(client, lambda client: checkpoints.save(client.rounds, *client.state()), restore)
    say(f"client {number}/{plan.clients}: done after {plan.rounds} rounds")
    return plan


def given_plan(transport: Transport, patience_s: float = PATIENCE_S, timeouts: Timeouts | None = None) -> TrainingPlan:
    """The plan of the server at the other end.

    Raises:
        ConfigError: It names code or files that are not part of cutlayer, which a server cannot make a client use; or
            it is none.
    """
    session = Session(transport, patience_s, timeouts=timeouts)
    reply = session.ask(Call.OPEN, {CLIENT: READER + secrets.randbits(32)})
    with suppress(WireError, RolledBack):
        session.ask(Call.CLOSE)
    text = reply.parameters.get("plan")
    if not isinstance(text, str):
        raise DecodeError("The server sent no plan; is it a server of inference?")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DecodeError(f"The plan of the server is no TOML: {error}.") from None
    for name in _names(table):
        if own.is_own(name):
            raise ConfigError(
                f"The plan of the server names {name!r:.80}, which is not part of cutlayer: give the plan here too, "
                "with --plan FILE.toml, so that it is yours that runs."
            )
    if DATASETS.is_path(str(table.get("data", ""))):
        raise ConfigError(
            f"The plan of the server names the path {table['data']!r:.80} as its data: give the plan here too, with "
            "--plan FILE.toml, so that no server decides which files are read."
        )
    return parse(table)


def _names(value: object) -> list[str]:
    """All texts in a plan."""
    if isinstance(value, dict):
        return [name for entry in value.values() for name in _names(entry)]
    if isinstance(value, list):
        return [name for entry in value for name in _names(entry)]
    return [value] if isinstance(value, str) else []


class _Listener:
    """Says which rounds this client has trained, and records what it sees where that is wanted."""

    def __init__(
        self, folder: Path, say: Callable[[str], None], number: int, plan: TrainingPlan, *, record: bool
    ) -> None:
        self._folder, self._say, self._number, self._plan, self._record = folder, say, number, plan, record
        self._recording: Recording | None = None

    def begin(self, round: int) -> None:
        """Record from a round on."""
        if self._record:
            self._recording = Recording(self._folder / TRANSCRIPT, after=round)

    def __call__(self, event: Event) -> None:
        if self._recording is not None:
            self._recording(event)
        if event.name == "delivered":
            self._say(f"client {self._number}/{self._plan.clients}: trained in round {event.round}/{self._plan.rounds}")
        elif event.name == "alarm":
            self._say(f"client {self._number}/{self._plan.clients}: {event.what['said']} of round {event.round}")
