"""A training whose server and clients are killed at chosen moments, and start again from what they have kept."""

from __future__ import annotations

import contextlib
import copy
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from cutlayer.cloud.training.coordinator import Coordinator
from cutlayer.cloud.training.service import TrainingService
from cutlayer.edge.training.client import Client, run
from cutlayer.edge.training.session import Session
from cutlayer.errors import CutlayerError
from cutlayer.models.halves import SplitModel, split
from cutlayer.protocols import cutting
from cutlayer.protocols.checkpoint import Checkpoints
from cutlayer.protocols.plan import TrainingPlan
from cutlayer.spec import TensorSpec
from cutlayer.wire.connect import connect, listen
from cutlayer.wire.retry import Retry
from cutlayer.wire.transport import Timeouts
from tests.cloud.training.losing import Losing
from tests.protocols.direct import CLASSES, INPUT, dataset, model

TIMES = Timeouts(connect_s=5.0, request_s=60.0)
SIZES = (21, 13, 16)

_MODEL = model()
"""Built once: threads that draw at a time would draw from one another."""


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it, and nothing is said to anybody."""


_HALVES: dict[tuple[str, tuple[int, ...], str], SplitModel] = {}


def _split(model: nn.Module, cut: str, input: TensorSpec) -> SplitModel:
    """`split` without tracing from the second time on: torch.fx disturbs all threads in which modules are called."""
    key = cut, input.shape, str(model)
    known = _HALVES.get(key)
    if known is None:
        known = _HALVES[key] = split(copy.deepcopy(model), cut, input)
    halves = (fx.GraphModule(model, copy.deepcopy(half.graph)) for half in (known.head, known.tail))
    return replace(known, head=next(halves), tail=next(halves))


cutting.split = _split


def halved(cut: str) -> None:
    """Trace the model, so that later calls of `split` at this cut need not."""
    _split(copy.deepcopy(_MODEL), cut, INPUT)


def coordinator(plan: TrainingPlan, kept: Checkpoints) -> Coordinator:
    """A coordinator at the last checkpoint."""

    def saved(round: int) -> None:
        kept.save(round, *made.state())

    made = Coordinator(plan, copy.deepcopy(_MODEL), INPUT, CLASSES, saved=saved)
    if (last := kept.last()) is not None:
        made.load(*kept.load(last))
    return made


def take_part(
    plan: TrainingPlan, number: int, address: str, folder: Path, wrapped: Callable[[Session], Any] = lambda s: s
) -> dict[str, torch.Tensor]:
    """What the process of one client does from its start to its end; return the weights of its layers."""
    kept = Checkpoints(folder / f"client-{number}", plan.id)
    with contextlib.closing(connect(address, TIMES, retry=Retry(attempts=1))) as transport:
        session = wrapped(Session(transport, 30.0, kept.secret(), TIMES, sleep=lambda s: time.sleep(min(s, 0.02))))
        data = dataset(SIZES[number - 1], number)
        client = Client(plan, number, copy.deepcopy(_MODEL), INPUT, CLASSES, data, dataset(12, 99), session)
        run(
            client,
            lambda client: kept.save(client.rounds, *client.state()),
            lambda client, round: client.load(*kept.load(round)),
        )
        return client.weights()


class Vanished(BaseException):
    """The client is gone for good."""


Death = str | Callable[["World"], None]
"""``before`` or ``after`` an ask, or what happens in place of a death."""


class Mortal:
    """A session that dies at some of its asks: before it asks, or with the reply in its hands."""

    def __init__(self, session: Session, world: World, number: int) -> None:
        self._session, self._world, self._number = session, world, number

    def ask(self, *ask: Any) -> Any:
        counts = self._world.counts
        counts[self._number] += 1
        death = self._world.deaths.get(self._number, {}).get(counts[self._number])
        if callable(death):
            death(self._world)
        if death == "before":
            raise Killed
        try:
            return self._session.ask(*ask)
        finally:
            # Also where the run has gone back meanwhile.
            if death == "after":
                raise Killed


class World:
    """One training in threads.

    Args:
        plan: The plan.
        folder: Where the parties keep their checkpoints.
        address: Of the server.
        deaths: For a client, its asks over all its lives at which it dies, as in `Mortal`; for 0, the server, the asks
            over all its lives at which it dies.
        losing: Whether each third reply of the server is lost.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        folder: Path,
        address: str,
        deaths: dict[int, dict[int, Death]] | None = None,
        *,
        losing: bool = False,
    ) -> None:
        self._losing, self.built = losing, 0
        self._plan, self._folder, self.address, self.deaths = plan, folder, address, deaths or {}
        self.lives = dict.fromkeys(range(plan.clients + 1), 1)
        self.asks, self.counts = 0, dict.fromkeys(range(plan.clients + 1), 0)
        self.weights: dict[int, dict[str, torch.Tensor]] = {}
        self.failures: list[BaseException] = []
        self._dead = threading.Event()
        self._over, self._up = threading.Event(), threading.Event()

    def train(self) -> dict[str, torch.Tensor]:
        """Train to the end; return the weights of all parties by their names there."""
        coordinator(self._plan, Checkpoints(self._folder / "none", self._plan.id))
        serving = threading.Thread(target=self._serve)
        serving.start()
        assert self._up.wait(60), "the server does not start"
        clients = [threading.Thread(target=self._live, args=(k,)) for k in range(1, self._plan.clients + 1)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join(120)
            assert not thread.is_alive(), "a client hangs"
        self._over.set()
        self._dead.set()
        serving.join(60)
        if self.failures:
            raise self.failures[0]
        return {f"{k}/{name}": value for k, of in self.weights.items() for name, value in of.items()}

    def _live(self, number: int) -> None:
        """One client after the other with this number, until one comes to the end."""
        while True:
            try:
                self.weights[number] = take_part(
                    self._plan, number, self.address, self._folder, lambda s: Mortal(s, self, number)
                )
                return
            except Killed:
                self.lives[number] += 1
            except Vanished:
                return
            except BaseException as error:
                self.failures.append(error)
                return

    def _serve(self) -> None:
        """One server after the other."""
        while not self._over.is_set():
            self._dead.clear()
            kept = Checkpoints(self._folder / "server", self._plan.id)

            def build(kept: Checkpoints = kept) -> Any:
                self.built += 1
                self.coordinator = coordinator(self._plan, kept)
                return _Doomed(self.coordinator, self)

            service = TrainingService(build)
            handler = Losing(service) if self._losing else service
            with contextlib.closing(listen(self.address, handler, TIMES)) as server:
                self.address = str(server.address)
                self._up.set()
                self._dead.wait()
                server.close(0)
                # Who waits in this process hears what a lost connection says elsewhere.
                service.drain(0)
            if self._over.is_set():
                self.weights[0] = self.coordinator.tails.weights()
            else:
                self.lives[0] += 1

    def count(self) -> bool:
        """Count an ask of the server; return whether it dies at it."""
        self.asks += 1
        if self.asks in self.deaths.get(0, {}):
            self._dead.set()
            return True
        return False


class _Doomed:
    """A coordinator whose process dies at some asks: it takes them, and its reply is lost."""

    def __init__(self, coordinator: Coordinator, world: World) -> None:
        self._coordinator, self._world, self._gone = coordinator, world, False

    def take(self, ask: Any, done: Any) -> None:
        if self._gone:
            return
        if self._world.count():
            self._gone = True
            with contextlib.suppress(CutlayerError):
                self._coordinator.take(ask, lambda reply: None)
            return
        self._coordinator.take(ask, lambda reply: None if self._gone else done(reply))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coordinator, name)
