"""A training in one process without a transport: clients in threads, whose asks a coordinator takes directly."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import nn

from cutlayer.cloud.training.coordinator import Coordinator
from cutlayer.cloud.training.tails import Tails
from cutlayer.data.splits import Dataset
from cutlayer.edge.training.client import Client, run
from cutlayer.errors import Refused
from cutlayer.protocols.events import Event
from cutlayer.protocols.plan import TrainingPlan, parse
from cutlayer.spec import image_spec
from cutlayer.wire.codecs.base import NO_PARAMETERS
from cutlayer.wire.training import NO_TENSORS, Ask, Call, Reply, ask_message, read_ask, read_reply, reply_message

INPUT, CLASSES = image_spec(1, 8, 8), 4


class Direct:
    """A session whose asks and replies pass through their bytes, without a transport."""

    def __init__(self, coordinator: Coordinator, name: str, asked: list[Ask]) -> None:
        self.coordinator, self.name, self.step, self.asked = coordinator, name, 0, asked

    def ask(self, call: Call, parameters: Any = NO_PARAMETERS, tensors: Any = NO_TENSORS) -> Reply:
        return self.submit(call, parameters, tensors).result(timeout=20)

    def submit(self, call: Call, parameters: Any = NO_PARAMETERS, tensors: Any = NO_TENSORS) -> Future[Reply]:
        ask = read_ask(ask_message(Ask(call, self.name, self.step, parameters, tensors)))
        self.step += 1
        self.asked.append(ask)
        answered: Future[Reply] = Future()

        def done(reply: Reply | Refused) -> None:
            if isinstance(reply, Refused):
                answered.set_exception(reply)
            else:
                answered.set_result(read_reply(reply_message(reply, call)))

        self.coordinator.take(ask, done)
        return answered


def model(dropout: bool = False, bn: bool = True) -> nn.Module:
    """A small network of named layers, the same one at each call."""
    with torch.random.fork_rng([]):
        torch.manual_seed(7)
        layers: dict[str, nn.Module] = {"conv1": nn.Conv2d(1, 4, 3, padding=1, bias=not bn)}
        if bn:
            layers["bn1"] = nn.BatchNorm2d(4)
        layers["relu1"] = nn.ReLU()
        if dropout:
            layers["drop1"] = nn.Dropout(0.3)
        layers |= {"pool": nn.MaxPool2d(2), "conv2": nn.Conv2d(4, 8, 3, padding=1, bias=not bn)}
        if bn:
            layers["bn2"] = nn.BatchNorm2d(8)
        layers |= {"relu2": nn.ReLU(), "flatten": nn.Flatten(), "fc1": nn.Linear(128, 16), "relu3": nn.ReLU()}
        if dropout:
            layers["drop2"] = nn.Dropout(0.3)
        layers["fc2"] = nn.Linear(16, CLASSES)
        whole = nn.Sequential()
        for name, layer in layers.items():
            whole.add_module(name, layer)
        return whole


def dataset(n: int, seed: int) -> Dataset:
    """Images whose brightest quarter is their class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, n)
    inputs = rng.random((n, 1, 8, 8), np.float32) * 0.7
    for image, label in zip(inputs, labels, strict=True):
        top, left = divmod(int(label), 2)
        image[0, 4 * top : 4 * top + 4, 4 * left : 4 * left + 4] += 0.3
    return Dataset(inputs, labels)


def planned(protocol: str | dict[str, str] = "vanilla", **changes: Any) -> TrainingPlan:
    """A plan for `model`; its data are those of `dataset`."""
    table: dict[str, Any] = {"data": "digits", "model": "resnet20", "protocol": protocol, "cut": "pool"}
    return parse({**table, "clients": 3, "rounds": 2, "batch": 8, **changes})


class Run:
    """A finished training: the coordinator, the clients, and what was heard on each side."""

    def __init__(
        self,
        plan: TrainingPlan,
        make: Callable[[], nn.Module] = model,
        sizes: tuple[int, ...] = (21, 13, 16),
        session: Callable[[Coordinator, int], Any] | None = None,
        after: tuple[Run, int] | None = None,
        tails: type[Tails] = Tails,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.plan, self.heard, self.seen = plan, list[Event](), dict[int, list[Event]]()
        self.data = {k: dataset(n, k) for k, n in enumerate(sizes[: plan.clients], 1)}
        # The states at the end of each round with a checkpoint: those of the clients, and that of the server under 0.
        self.kept: dict[int, dict[int, Any]] = {}
        self.asked: list[Ask] = []
        options: dict[str, Any] = {"tails": tails, "on": self.heard.append, "saved": self._save, "clock": clock}
        self.coordinator = Coordinator(plan, make(), INPUT, CLASSES, **options)
        before = after[0].kept[after[1]] if after else {}
        if before:
            self.coordinator.load(*before[0])
        self.clients: dict[int, Client] = {}
        for k, data in self.data.items():
            ask = session(self.coordinator, k) if session else Direct(self.coordinator, f"session {k}", self.asked)
            self.seen[k] = []
            test = dataset(40, 99)
            on = self.seen[k].append
            self.clients[k] = Client(plan, k, make(), INPUT, CLASSES, data, test, ask, on=on)
        with ThreadPoolExecutor(len(self.clients)) as pool:
            ended = [pool.submit(run, client, self._keep, self._restored(before)) for client in self.clients.values()]
        self.errors = [error for future in ended if (error := future.exception()) is not None]
        self.coordinator.close()

    def _keep(self, client: Client) -> None:
        self.kept.setdefault(client.rounds, {})[client.number] = client.state()

    def _save(self, number: int) -> None:
        self.kept[number][0] = self.coordinator.state()

    @staticmethod
    def _restored(before: dict[int, Any]) -> Callable[[Client, int], None]:
        return lambda client, number: client.load(*before[client.number])

    def checked(self) -> Run:
        """This run, if nothing went wrong."""
        if self.errors:
            raise self.errors[0]
        return self

    def whole(self, client: int) -> dict[str, torch.Tensor]:
        """The weights of the whole model, with the head of this client."""
        return {**self.coordinator.tails.weights(), **copy.deepcopy(self.clients[client].weights())}

    def accuracies(self) -> list[tuple[int, int, float]]:
        """Round, client and accuracy of each measurement."""
        measured = [event for event in self.heard if event.name == "measured"]
        return sorted((e.round, e.client, float(e.what["correct"].sum() / e.what["total"].sum())) for e in measured)
