"""A training in one process: its server and its clients as threads, with the messages of the real transports."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path

from cutlayer.cloud.training.hosted import Hosted
from cutlayer.edge.training.client import Client, run
from cutlayer.edge.training.session import Session
from cutlayer.errors import Unreachable
from cutlayer.protocols.checkpoint import Checkpoints
from cutlayer.protocols.events import Listener, unheard
from cutlayer.protocols.plan import TrainingPlan
from cutlayer.protocols.row import protocol_named
from cutlayer.protocols.setup import Setup
from cutlayer.records.training import RoundRecord, TrainingRecord, read
from cutlayer.wire.connect import connect, listen
from cutlayer.wire.retry import Retry
from cutlayer.wire.transport import Timeouts

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


def alone(setup: Setup, out: Path) -> TrainingRecord:
    """The record of clients that train alone, for as many rounds; one that is in the folder already is taken."""
    plan = setup.plan
    local = TrainingPlan(
        data=plan.data, model=plan.model, protocol="local", row=protocol_named("local"), clients=plan.clients,
        rounds=plan.rounds, epochs=plan.epochs, batch=plan.batch, seed=plan.seed, threads=plan.threads,
        optimizer=plan.optimizer, optimizer_state="reset" if plan.optimizer_state == "reset" else "keep",
        bn="replaced" if plan.bn == "replaced" else "shared", partition=plan.partition, samples=plan.samples,
        test=plan.test, input=plan.input, checkpoint_rounds=0, evaluate_rounds=plan.rounds, name="each client alone",
    )  # fmt: skip
    with suppress(OSError, ValueError, KeyError, TypeError):
        record = read(out / local.id)
        if record.finished:
            return record
    return in_process(replace(setup, plan=local), out / local.id)
