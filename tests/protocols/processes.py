"""The processes of a training that kill themselves with SIGKILL at a chosen ask, for tests of survival."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch

from cutlayer.cloud.training.service import TrainingService
from cutlayer.protocols.checkpoint import Checkpoints
from cutlayer.protocols.plan import TrainingPlan
from cutlayer.wire.connect import listen
from tests.protocols.survival import TIMES, coordinator, halved, take_part

CONTEXT = multiprocessing.get_context("forkserver")
# Each process is a copy of one that has imported torch and traced the model, which takes seconds.
CONTEXT.set_forkserver_preload([__name__])
halved("pool")


def die() -> None:
    """End this process as kill -9 does."""
    os.kill(os.getpid(), signal.SIGKILL)


class _Doomed:
    """A coordinator in whose process an ask is the last one: it is taken, and its reply does not leave."""

    def __init__(self, coordinator: Any, last: int) -> None:
        self._coordinator, self._left = coordinator, last

    def take(self, ask: Any, done: Any) -> None:
        self._left -= 1
        self._coordinator.take(ask, (lambda reply: die()) if not self._left else done)
        if not self._left:
            die()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coordinator, name)


def serve(plan: TrainingPlan, folder: Path, address: str, last: int, ready: Any) -> None:
    """The server's process, from its last checkpoint on; it dies at its ask number `last`, never if that is 0."""
    torch.set_num_threads(1)
    made: list[Any] = []

    def build() -> _Doomed:
        made.append(coordinator(plan, Checkpoints(folder / "server", plan.id)))
        return _Doomed(made[-1], last)

    service = TrainingService(build)
    with contextlib.closing(listen(address, service, TIMES)) as server:
        ready.send(str(server.address))
        while not made[-1].finished:
            time.sleep(0.01)
        torch.save(made[-1].tails.weights(), folder / "0.pt")
        time.sleep(0.2)  # for the last replies


def train(plan: TrainingPlan, folder: Path, address: str, number: int, last: int) -> None:
    """The process of a client, from its last checkpoint on; it dies at its ask number `last`, never if that is 0."""
    torch.set_num_threads(1)

    class Doomed:
        def __init__(self, session: Any) -> None:
            self._session, self._left = session, last

        def ask(self, *ask: Any) -> Any:
            self._left -= 1
            if not self._left:
                die()
            return self._session.ask(*ask)

    weights = take_part(plan, number, address, folder, Doomed)
    torch.save(weights, folder / f"{number}.pt")


def run(plan: TrainingPlan, folder: Path, address: str, deaths: dict[int, list[int]]) -> dict[str, torch.Tensor]:
    """Train with one process for each party, which is started again when it was killed; return all weights by name.

    Args:
        plan: The plan.
        folder: Where the parties keep their checkpoints.
        address: Where the server listens.
        deaths: For each party, the server being 0, the ask at which each of its processes dies.
    """
    folder.mkdir()
    here, there = CONTEXT.Pipe()
    left = {party: [*asks, 0] for party, asks in deaths.items()}

    def start(party: int) -> Any:
        last = left[party].pop(0)
        target, more = (serve, (address, last, there)) if party == 0 else (train, (address, party, last))
        process = CONTEXT.Process(target=target, args=(plan, folder, *more))
        process.start()
        return process

    processes = {0: start(0)}
    assert here.poll(60), "the server does not start"
    address = here.recv()
    processes |= {party: start(party) for party in left if party}
    ended: set[int] = set()
    until = time.monotonic() + 120
    try:
        while len(ended) < len(processes):
            assert time.monotonic() < until, f"only {ended} of the parties have ended"
            for party in processes.keys() - ended:
                processes[party].join(0.02)
                code = processes[party].exitcode
                if code == -signal.SIGKILL:
                    processes[party] = start(party)
                elif code is not None:
                    assert code == 0, f"party {party} has failed"
                    ended.add(party)
    finally:
        for process in processes.values():
            process.kill()
    assert not any(left.values()), f"the deaths {left} did not come"
    return {
        f"{party}/{name}": value for party in processes for name, value in torch.load(folder / f"{party}.pt").items()
    }
