"""The networks that a participant of a federated training gets, one for each round.

Each client holds the whole network at the begin of each round. `averaged` trains a victim so, with the messages
and the averaging of `cutlayer train`; `recorded` reads the rounds of a training that has been recorded.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from cutlayer.data.load import open_data
from cutlayer.data.partition import partition
from cutlayer.data.withheld import ClassData, withheld
from cutlayer.deployment.training import in_process
from cutlayer.errors import ConfigError, DataError
from cutlayer.models.kept import Say, remembered
from cutlayer.models.text_folder import tokenizer_of
from cutlayer.protocols import plan as plans
from cutlayer.protocols.draws import Role, generator
from cutlayer.protocols.events import Event
from cutlayer.protocols.setup import Setup, prepare
from cutlayer.records.training import PLAN, TRANSCRIPT
from cutlayer.records.transcript import Transcript


def averaged(
    data: ClassData, *, name: str, model: str, clients: int, rounds: int, lr: float, seed: int, kept: Path, say: Say
) -> tuple[nn.Module, ...]:
    """Train by federated averaging, one pass over its samples for each client in a round; the network of each round.

    Args:
        data: The victim's classes, whose training samples are dealt to the clients at random.
        name: Name of the data set in the registry.
        model: Name of the model.
        clients: Number of clients.
        rounds: Number of rounds.
        lr: Adam's learning rate.
        seed: Seed of the model, of who holds what and of the batches.
        kept: File of the networks, from where equal trainings take them.
        say: Called when there is work to do.
    """
    plan = plans.parse(
        {
            "data": name, "model": model, "protocol": "fedavg", "clients": clients, "rounds": rounds, "seed": seed,
            "optimizer": {"name": "adam", "lr": lr}, "checkpoint_rounds": 0,
        }
    )  # fmt: skip
    classes = (*data.classes[: data.n_private], "a class that nobody has")
    dealt = partition(data.train.labels, plan.partition, clients, generator(seed, Role.PARTITION), data.train.groups)
    setup = Setup(plan, data.input, classes, data.train, data.held_out.take(plan.test), dealt)

    def train() -> nn.ModuleList:
        say(f"training {model} by federated averaging: {clients} clients, {rounds} rounds")
        weights: dict[int, dict[str, Tensor]] = {}

        def hear(event: Event) -> None:
            if event.name == "averaged":
                weights[event.round] = {key: value.clone() for key, value in event.what["weights"].items()}

        with tempfile.TemporaryDirectory(prefix="cutlayer-") as scratch:
            in_process(setup, Path(scratch), on=hear)
        networks = empty()
        for number, network in enumerate(networks, 1):
            network.load_state_dict(weights[number])
        return networks

    def empty() -> nn.ModuleList:
        return nn.ModuleList(setup.model() for _ in range(rounds))

    return tuple(remembered(kept, empty, train, say).eval().requires_grad_(False))


def recorded(
    folder: Path, data_root: Path | None = None, rounds: Sequence[int] = ()
) -> tuple[ClassData, tuple[nn.Module, ...]]:
    """What ``cutlayer train --record`` has kept of a federated averaging: its data, and the networks of its rounds.

    Args:
        folder: Folder of the run.
        data_root: Folder of the data sets that are not embedded.
        rounds: The rounds, from 1; all that were recorded if empty.

    Raises:
        ConfigError: No party holds the whole network in such a training, or such a round was not recorded.
        DataError: There is no recording, or the data are missing.
    """
    plan = plans.load(folder / PLAN)
    if plan.row.tail != "none":
        raise ConfigError(
            f"Nobody holds the whole network in a training by {plan.protocol}; record one by fedavg, with "
            "`cutlayer train --record`."
        )
    transcript, setup = Transcript(folder / "server" / TRANSCRIPT), prepare(plan, data_root)
    if strange := sorted({*rounds} - {*transcript.rounds}):
        raise ConfigError(
            f"Round {strange[0]} of {folder} was not recorded; it has {', '.join(map(str, transcript.rounds))}."
        )
    networks = []
    for number in rounds or transcript.rounds:
        network = setup.model()
        try:
            network.load_state_dict({key: torch.from_numpy(value) for key, value in transcript.model(number).items()})
        except RuntimeError as error:
            raise DataError(f"{folder} was recorded for another model than its plan names: {error}") from None
        networks.append(network.eval().requires_grad_(False))
    data = withheld(
        open_data(plan.data, data_root, plan.seed, shape=setup.input.shape, tokenizer=tokenizer_of(plan.model)).loaded()
    )
    return data, tuple(networks)
