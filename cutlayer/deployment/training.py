"""A training on this machine: its server and its clients as threads of this process, or as processes of their own."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from cutlayer.cloud.training.hosted import Hosted
from cutlayer.edge.training.client import Client, run
from cutlayer.edge.training.session import Session
from cutlayer.protocols.events import Listener, unheard
from cutlayer.protocols.setup import Setup
from cutlayer.records.training import RoundRecord, TrainingRecord
from cutlayer.wire.connect import connect, listen
from cutlayer.wire.transport import Timeouts

PATIENCE_S = 0.5
"""Longest silence of a server in this process, which cannot be started again."""

LONG_S = 3600.0
"""Longest time of one ask in this process, where nothing can be lost."""


def in_process(
    setup: Setup,
    folder: Path,
    *,
    told: Callable[[RoundRecord], None],
    on: Listener = unheard,
    before: TrainingRecord | None = None,
) -> TrainingRecord:
    """Train with all parties as threads of this process. The messages are those of the real transports.

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
            transport = opened.enter_context(closing(connect(address, times)))
            session = Session(transport, PATIENCE_S, timeouts=times)
            # Here and not in the threads: a model is traced by one thread at a time.
            model, samples = setup.model(), setup.samples(number)
            clients.append(
                Client(plan, number, model, setup.input, len(setup.classes), samples, setup.test, session, on=on)
            )

        def take_part(client: Client) -> None:
            try:
                run(client)
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
    if failures:
        raise failures[0]
    return record
