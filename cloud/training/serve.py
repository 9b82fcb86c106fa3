"""The process of a training server: it trains one plan with clients that connect, and ends when they have ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from cutlayer.cloud.training.book import earlier
from cutlayer.cloud.training.hosted import Hosted
from cutlayer.errors import DataError, Unreachable
from cutlayer.machine.compute import tune_allocator
from cutlayer.machine.files import check_writable
from cutlayer.machine.lock import only_one
from cutlayer.protocols.plan import TrainingPlan
from cutlayer.protocols.setup import Setup, check_cuts, prepare, untrained
from cutlayer.protocols.unused import unused
from cutlayer.records.training import RoundRecord, TrainingRecord
from cutlayer.spec import TensorSpec, image_spec, input_shape
from cutlayer.stopping import Stopped, StopSignal
from cutlayer.wire.address import Address
from cutlayer.wire.connect import listen as listen_at
from cutlayer.wire.security import PLAIN, Security
from cutlayer.wire.transport import Timeouts
from cutlayer.wire.visitors import Visitors

GRACE_S = 5.0
"""Time in seconds that asks have for their reply when the server ends."""

FAREWELL_S = 60.0
"""Longest time in seconds until each client has asked once more and knows that the training has failed."""

SILENCE_S = 30.0
"""Time in seconds after which the server says for whom it waits, and between two such lines."""


def serve(
    plan: TrainingPlan,
    listen: str,
    *,
    out: Path,
    data_root: Path | None,
    resume: bool,
    ready: Callable[[str, TrainingRecord], None],
    told: Callable[[RoundRecord], None],
    say: Callable[[str], None],
    timeouts: Timeouts | None = None,
    security: Security = PLAIN,
) -> tuple[TrainingRecord, Setup | None]:
    """Train until all clients have ended.

    Args:
        plan: The plan.
        listen: Address; port 0 takes a free one.
        out: Folder of all runs; that of this run is named after the id of the plan.
        data_root: Folder of the data sets that are not embedded.
        resume: Whether to go on with an interrupted run.
        ready: Called with the address, once clients can connect.
        told: Called with each round when it is over.
        say: Called with each line of progress.
        timeouts: Time limits of the transport.
        security: Files for encryption and authentication; plain text if left out.

    Returns:
        The record of the training, and its data where they are here.

    Raises:
        ConfigError: The plan cannot be trained, or the folder holds another state of it.
        Refused: The training has failed; the message says at which client and step.
        Stopped: SIGTERM or SIGINT came before the end; `say` and the clients are told.
        Unreachable: No client is left, and the training has not ended.
        WireError: The address is taken.
    """
    stop = StopSignal()
    tune_allocator()
    folder = out / plan.id
    check_writable(folder, "folder")
    setup, input, classes = known(plan, data_root, say)
    if text := unused(plan):
        say(text)
    with ExitStack() as opened:
        opened.enter_context(only_one(folder))
        before = earlier(folder, resume=resume)
        if before is not None and before.finished:
            say(f"{folder} holds this training, finished; change the plan, or delete the folder to train again.")
            return before, setup
        visitors = opened.enter_context(closing(Visitors()))
        transport = Address.parse(listen).scheme
        hosted = Hosted(
            plan, input, classes, setup, folder, transport, apart=True, told=told, before=before, visitors=visitors
        )  # fmt: skip
        server = opened.enter_context(
            closing(listen_at(listen, hosted.service, timeouts, security=security, visitors=visitors))
        )
        opened.callback(lambda: hosted.service.drain(GRACE_S, stopped(hosted.record) if stop.number else ""))
        ready(str(server.address), hosted.record)
        failed_s: float | None = None
        said_s = time.monotonic()
        while not hosted.coordinator.finished and not stop.wait(0.1):
            now = time.monotonic()
            if hosted.failed is None:
                if now - said_s >= SILENCE_S and (whom := hosted.coordinator.awaits(SILENCE_S)):
                    say(whom)
                    said_s = now
                continue
            failed_s = failed_s or now
            if now - failed_s >= FAREWELL_S:
                break
        record = hosted.end()
        if hosted.failed is not None:
            raise hosted.failed
    if not record.finished:
        if stop.number is None:
            raise Unreachable(
                f"No client is left after round {len(record.rounds)} of {plan.rounds}",
                "start the server again by the same command with --resume, and then the clients",
            )
        say(stopped(record))
        raise Stopped(stop.number)
    return record, setup


def stopped(record: TrainingRecord) -> str:
    """What a server that is stopped in the middle says, also to its clients."""
    return (
        f"The server was stopped after round {len(record.rounds)} of {record.planned}; started again by the same "
        "command with --resume, it goes on."
    )


def known(
    plan: TrainingPlan, data_root: Path | None, say: Callable[[str], None]
) -> tuple[Setup | None, TensorSpec, tuple[str, ...]]:
    """The data of a plan, one input, and the names of the classes; without data the plan states the latter two.

    Raises:
        ConfigError, DataError: The data are not here, and the plan does not state what the server needs of them.
    """
    try:
        setup = prepare(plan, data_root)
    except DataError as error:
        if not (plan.input and plan.classes):
            raise type(error)(
                f"{error} A server needs no data where the plan states input, such as '1x28x28', and classes."
            ) from None
        say(f"No data are here ({error}) The record has no figures for single clients.")
        input = image_spec(*input_shape(plan.input))
        check_cuts(plan, untrained(plan, input, plan.classes), input)
        return None, input, tuple(map(str, range(plan.classes)))
    return setup, setup.input, setup.classes
