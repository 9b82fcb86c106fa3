"""The record of a training: these classes write and read `training.json`, and their fields are its keys.

The folder of a run holds `plan.toml`, `partition.npz` (who holds what), `env.json`, the weights of the whole model in
`models`, and `training.json`, which is written anew after each round. `finished` says whether the last round is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.bounded import read_arrays, read_json
from cutlayer.machine.files import new_file
from cutlayer.records.dataclass_json import dump, load
from cutlayer.records.files import write_arrays, write_json, write_text
from cutlayer.records.index import note
from cutlayer.records.run import Estimate

PLAN = "plan.toml"
PARTITION = "partition.npz"
TRAINING = "training.json"
MODELS = "models"
"""Folder of the weights of the whole model at the end of some rounds."""

TRANSCRIPT = "transcript"
"""Folder, in that of a party, of what it saw."""

SCHEMA = 1

EVALUATION = ("up evaluation", "down evaluation")
"""Kinds of bytes that measure the accuracy, and do not train."""


@dataclass(frozen=True, kw_only=True)
class ClientRound:
    """One client in one round.

    Attributes:
        client: Its number, from 1.
        accuracy: On test samples in the proportions of its own classes; NaN where it was not measured.
        busy_s: Time in seconds that it computed; NaN where it took no part.
        rss_bytes: Peak memory of its process so far; None where it is unknown.
    """

    client: int
    accuracy: float = nan
    busy_s: float = nan
    rss_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class RoundRecord:
    """One round.

    Attributes:
        round: Its number, from 1.
        accuracy: On all test samples; of heads that differ, the mean over the clients. None where it was not measured.
        loss: Mean cross-entropy on the test samples, in nats; NaN where it was not measured.
        clients: The clients that took part or were measured.
        traffic: Bytes of tensors in this round, by direction and kind, such as ``up smashed``.
        seconds: Duration of the round.
        server_s: Time in seconds that the server computed.
        server_rss_bytes: Peak memory of the server's process so far; None where it is unknown.
    """

    round: int
    accuracy: Estimate | None = None
    loss: float = nan
    clients: tuple[ClientRound, ...] = ()
    traffic: dict[str, int]
    seconds: float
    server_s: float = nan
    server_rss_bytes: int | None = None

    @property
    def by_client(self) -> list[float]:
        """The accuracies of the clients."""
        return [client.accuracy for client in self.clients if isfinite(client.accuracy)]

    @property
    def mean(self) -> float:
        """The mean accuracy of the clients; NaN where it is not known."""
        return sum(self.by_client) / len(self.by_client) if self.by_client else nan

    @property
    def worst(self) -> float:
        """The mean accuracy of the worst tenth of the clients, at least of one; NaN where it is not known."""
        lowest = sorted(self.by_client)[: ceil(len(self.by_client) / 10)]
        return sum(lowest) / len(lowest) if lowest else nan

    def sent(self, way: str) -> int:
        """Bytes of training that went ``up`` or ``down``; those of measuring the accuracy do not count."""
        return sum(n for kind, n in self.traffic.items() if kind.startswith(f"{way} ") and kind not in EVALUATION)


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """What an attack rebuilds of private inputs from what the head of one round sends.

    Attributes:
        round: The round whose weights the head has.
        attack: Name of the attack.
        gain: Its leakage gain.
    """

    round: int
    attack: str
    gain: Estimate


@dataclass(frozen=True, kw_only=True)
class Leak:
    """What one attack makes of what a party of a training recorded; NaN where a figure does not apply.

    Attributes:
        party: ``server``, or ``client-1`` and so on.
        target: ``labels`` or ``inputs``.
        attack: Name of the attack; empty where no attack could be run.
        round: The round whose steps were attacked, or the last one that the attack has learned from.
        n: Number of samples that count.
        auc: For labels of two classes, the chance that a sample of class 1 scores above one of class 0.
        accuracy: Share of the labels that are right.
        majority: Share of the most frequent class among them.
        steps: Steps that an attack on inputs has taken.
        mse: Mean squared error of rebuilt inputs.
        psnr_db: The same as a peak signal-to-noise ratio, in dB.
        ssim: Their structural similarity.
        mse_of_mean: Mean squared error of the mean image in place of each.
        withheld: Why the attack was not run; empty where it was.
    """

    party: str
    target: str
    attack: str = ""
    round: int = 0
    n: int = 0
    auc: float = nan
    accuracy: float = nan
    majority: float = nan
    steps: int = 0
    mse: float = nan
    psnr_db: float = nan
    ssim: float = nan
    mse_of_mean: float = nan
    withheld: str = ""


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """The first suspicion of a client's detector that reached its threshold.

    Attributes:
        client: The client.
        detector: Name of the detector, with its options.
        round: The round.
        step: The step of the client within the round, from 0.
        score: The suspicion.
        threshold: The threshold.
    """

    client: int
    detector: str
    round: int
    step: int
    score: float
    threshold: float

    def __str__(self) -> str:
        return (
            f"client {self.client}, {self.detector}: {self.score:.3f} at step {self.step} of round {self.round}, "
            f"threshold {self.threshold:g}"
        )


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """`training.json` of one run.

    Attributes:
        id: Id of the plan.
        plan: The plan in one line.
        label: The protocol, and the options of the plan that differ from their defaults, for tables.
        protocol: Name of the protocol.
        row: Its row: the values of `cutlayer.protocols.row.CHOICES`.
        cuts: The cut of each client, or one for all; none where there is no tail.
        clients: Number of clients.
        planned: Number of rounds of the plan.
        classes: Names of the classes.
        partition: The law of the partition with its option.
        digest: 12 hex digits over who holds what; empty where this machine does not know.
        held: For each client the number of its samples of each class; empty where this machine does not know.
        n_train: Number of training samples of all clients; 0 where this machine does not know.
        n_test: Number of test samples; 0 likewise.
        rounds: What was measured, in order.
        majority: Accuracy of whoever always answers the most frequent class of the training samples; NaN where it is
            not known.
        local: Accuracy on all test samples of clients that train alone, the mean over them; None where it was not
            measured.
        local_mean: Their accuracy on test samples in the proportions of their own classes, the mean over them.
        sees: What each party sees while training, in sentences.
        guarantee: What DP-SGD promises the client with the fewest samples, and what it does not; empty without it.
        transport: How they reached each other.
        leakage: What an attack rebuilds, at some rounds.
        detectors: What each client watched its gradients with, as the server knows.
        alarms: What they have raised, as the clients have said.
        leaks: What attacks have made of the parties' recordings, where `cutlayer leaks` was run.
        finished: Whether the last round of the plan is there.
    """

    schema: int
    id: str
    name: str
    claim: str = ""
    plan: str
    label: str
    protocol: str
    row: dict[str, str]
    data: str
    model: str
    cuts: tuple[str, ...] = ()
    clients: int
    planned: int
    seed: int
    classes: tuple[str, ...]
    partition: str
    digest: str = ""
    held: tuple[tuple[int, ...], ...] = ()
    n_train: int = 0
    n_test: int = 0
    rounds: tuple[RoundRecord, ...] = ()
    majority: float = nan
    local: Estimate | None = None
    local_mean: float = nan
    sees: tuple[str, ...] = ()
    guarantee: str = ""
    transport: str = ""
    leakage: tuple[Leakage, ...] = ()
    detectors: tuple[str, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    leaks: tuple[Leak, ...] = ()
    finished: bool = False

    @property
    def last(self) -> RoundRecord | None:
        """The last round in which accuracy was measured."""
        return next((entry for entry in reversed(self.rounds) if entry.accuracy is not None), None)

    @property
    def traffic(self) -> dict[str, int]:
        """Bytes of all rounds by direction and kind."""
        kinds = dict.fromkeys(kind for entry in self.rounds for kind in entry.traffic)
        return {kind: sum(entry.traffic.get(kind, 0) for entry in self.rounds) for kind in kinds}


def begin(folder: Path, plan: str, env: Mapping[str, Any], indices: Sequence[NDArray[np.intp]] | None) -> None:
    """Write what stands at the begin of a training: the plan as TOML, the environment, and who holds what, if known."""
    write_text(folder / PLAN, plan)
    write_json(folder / "env.json", env)
    if indices is not None:
        write_arrays(folder / PARTITION, {f"client-{k}": part for k, part in enumerate(indices, 1)})


def write(folder: Path, record: TrainingRecord) -> None:
    """Write `training.json` into the folder of a run, and into the index once it is finished. Raises WriteError."""
    write_json(path := folder / TRAINING, dump(record))
    if record.finished:
        note(folder.parent, "training", path, record.id)


def read(folder: Path) -> TrainingRecord:
    """The record in the folder of a run.

    Raises:
        OSError: There is no `training.json` that can be read.
        KeyError, TypeError, ValueError: It is not of this schema.
    """
    return load_training(read_json(folder / TRAINING))


def load_training(value: Any) -> TrainingRecord:
    """The record that the content of a `training.json` describes. Raises as `read` does."""
    if value["schema"] != SCHEMA:
        raise ValueError(f"schema {value['schema']!r} where this version of cutlayer reads {SCHEMA}")
    return load(TrainingRecord, value)


def write_model(folder: Path, round: int, weights: Mapping[str, Any]) -> None:
    """Write the weights of the whole model at the end of a round, tensors of torch by name, as safetensors."""
    from safetensors.torch import save

    with new_file(folder / MODELS / f"round-{round}.safetensors") as file:
        file.write(save({name: tensor.contiguous() for name, tensor in weights.items()}))


def models(folder: Path) -> dict[int, Path]:
    """The files of `write_model` by round, in order."""
    found = {path.stem.removeprefix("round-"): path for path in (folder / MODELS).glob("round-*.safetensors")}
    return {int(number): found[number] for number in sorted(filter(str.isdecimal, found), key=int)}


def read_partition(folder: Path) -> list[NDArray[np.intp]]:
    """The positions of each client's samples among the training samples.

    Raises:
        OSError, ValueError: There is no such file, or it is damaged.
    """
    arrays: Mapping[str, NDArray[Any]] = read_arrays(folder / PARTITION)
    return [arrays[f"client-{k}"].astype(np.intp) for k in range(1, len(arrays) + 1)]
