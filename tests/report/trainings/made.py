"""Made-up records of trainings for tests of the report."""

import hashlib

import numpy as np

from cutlayer.records.run import Estimate
from cutlayer.records.training import SCHEMA, ClientRound, Leakage, RoundRecord, TrainingRecord


def training(
    label: str = "splitfed-v1", *, seed: int = 0, rounds: int = 6, planned: int = 6, clients: int = 5, top: float = 0.8
) -> TrainingRecord:
    """A training whose curve rises to an accuracy."""
    rng = np.random.default_rng(seed + len(label))
    held = tuple(tuple(map(int, row)) for row in rng.integers(0, 80, (clients, 10)))
    entries = []
    for number in range(1, rounds + 1):
        value = top * (1 - 0.6**number)
        each = tuple(
            ClientRound(client=k, accuracy=value - 0.02 * k, busy_s=0.4 + 0.01 * k, rss_bytes=300_000_000 + k)
            for k in range(1, clients + 1)
        )
        traffic = {"up smashed": 1_000_000 * number, "down gradient": 900_000, "up weights": 5_000, "up labels": 800}
        entries.append(
            RoundRecord(
                round=number,
                accuracy=Estimate(value, 2000, value - 0.02, value + 0.02),
                loss=2.3 - value,
                clients=each,
                traffic=traffic,
                seconds=1.25,
                server_s=0.6,
                server_rss_bytes=410_000_000,
            )
        )
    return TrainingRecord(
        schema=SCHEMA,
        id=hashlib.sha256(f"{label} {seed}".encode()).hexdigest()[:12],
        name="made",
        claim="V1 is FedAvg.",
        plan=f"{label}: lenet on mnist",
        label=label,
        protocol=label.partition(",")[0],
        row={"head": "averaged"},
        data="mnist",
        model="lenet",
        cuts=("pool1",),
        clients=clients,
        planned=planned,
        seed=seed,
        classes=tuple("0123456789"),
        partition="dirichlet 0.1",
        digest="0123456789ab",
        held=held,
        n_train=2000,
        n_test=2000,
        rounds=tuple(entries),
        majority=0.113,
        local=Estimate(0.31, 2000, 0.29, 0.33),
        local_mean=0.9,
        sees=("The server sees the smashed data.", "A client sees the gradients at its output."),
        transport="zmq",
        leakage=(Leakage(round=1, attack="ridge", gain=Estimate(0.8, 64, 0.77, 0.83)),),
        finished=rounds == planned,
    )
