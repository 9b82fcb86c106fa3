"""The small reference run of the training protocols: accuracy after a few rounds, over seeds, partitions and norms.

    .venv/bin/python benchmarks/training_reference.py --data-root DIR
    .venv/bin/python benchmarks/training_reference.py --data-root DIR --curves     ten clients on Fashion-MNIST

MNIST, 2,000 training and 2,000 test images, 5 clients, 6 rounds of one epoch, batches of 32, Adam with a learning rate
of 1e-3 whose state is kept; LeNet cut behind its first pooling, without and with batch normalization, IID and
Dirichlet(0.1), three seeds. With ``--curves``: Fashion-MNIST, 5,000 training and 2,000 test images, 10 clients,
Dirichlet(0.5), 10 rounds, one seed. The parties are threads of one process; their messages are those of the sockets,
and so are the bits of the result. SplitFed V1 is not run, because its bits are those of FedAvg. Finished runs are kept,
so that the script goes on where it stopped; `cutlayer report` shows them.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import tyro

import cutlayer
from cutlayer.records.training import TrainingRecord
from cutlayer.report.kit.columns import columns

WAYS: dict[str, dict[str, Any]] = {
    "centralised": {"protocol": "centralised"},
    "FedAvg = V1": {"protocol": "fedavg"},
    "FedAvg, Adam new each round": {"protocol": "fedavg", "optimizer_state": "reset"},
    "vanilla": {"protocol": "vanilla"},
    "V2": {"protocol": "splitfed-v2"},
    "own heads, batch by batch": {"protocol": {"name": "own-heads", "order": "batches"}},
    "parallel": {"protocol": "parallel"},
}
PARTITIONS: dict[str, Any] = {"IID": "iid", "Dirichlet 0.1": {"name": "dirichlet", "alpha": 0.1}}
MODELS = {"no BN": "lenet", "BN": "lenet_bn"}
PLAN: dict[str, Any] = {
    "name": "reference", "data": "mnist", "cut": "pool1", "clients": 5, "rounds": 6, "batch": 32, "samples": 2000,
    "test": 2000, "evaluate_rounds": 6, "checkpoint_rounds": 0, "optimizer": {"name": "adam", "lr": 1e-3},
}  # fmt: skip
CURVES: dict[str, Any] = {
    "name": "curves", "data": "fashion-mnist", "model": "lenet", "cut": "pool1", "clients": 10, "rounds": 10,
    "batch": 32, "samples": 5000, "test": 2000, "checkpoint_rounds": 0, "optimizer": {"name": "adam", "lr": 1e-3},
    "partition": {"name": "dirichlet", "alpha": 0.5},
}  # fmt: skip
DRAWN = ("fedavg", "splitfed-v2", "parallel", "u-shaped", "vanilla", "centralised")


def trained(plan: dict[str, Any], out: Path, data_root: Path | None, *, compare: bool) -> TrainingRecord:
    """The record of a plan, trained or found."""
    begin_s = time.perf_counter()
    record = cutlayer.train(plan, out=out, data_root=data_root, compare=compare, resume=True, say=lambda text: None)
    assert record.last is not None
    assert record.last.accuracy is not None
    spent_s = time.perf_counter() - begin_s
    print(f"{record.last.accuracy.value:.3f}  {record.plan}, seed {record.seed}  ({spent_s:.0f} s)", flush=True)
    return record


def reference(out: Path, data_root: Path | None, seeds: int) -> None:
    """Train all combinations, and print the means over the seeds with the least and the greatest value."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for seed in range(seeds):
        for law, partition in PARTITIONS.items():
            for norm, model in MODELS.items():
                for way, protocol in WAYS.items():
                    if way == "centralised" and law != "IID":
                        continue
                    plan = PLAN | protocol | {"model": model, "partition": partition, "seed": seed}
                    record = trained(plan, out, data_root, compare=False)
                    assert record.last is not None
                    assert record.last.accuracy is not None
                    found.setdefault((way, law, norm), []).append(record.last.accuracy.value)
    head = ["PROTOCOL", *(f"{law}, {norm}" for law in PARTITIONS for norm in MODELS)]
    rows = []
    for way in WAYS:
        cells = [found.get((way, law, norm), []) for law in PARTITIONS for norm in MODELS]
        shown = [f"{np.mean(v):.3f} ({min(v):.3f} to {max(v):.3f})" if v else "" for v in cells]
        rows.append([way, *shown])
    print(columns(head, rows, rule=True))


def main(
    out: Path = Path("runs/reference"), data_root: Path | None = None, seeds: int = 3, curves: bool = False
) -> None:
    """Run the reference, or the curves.

    Args:
        out: Folder for the records.
        data_root: Folder of the data sets.
        seeds: Number of seeds of the reference.
        curves: Train ten clients on Fashion-MNIST in place of the reference.
    """
    if not curves:
        reference(out, data_root, seeds)
        return
    for name in DRAWN:
        end = {"end": "relu3"} if name == "u-shaped" else {}
        trained(CURVES | end | {"protocol": name}, out, data_root, compare=True)


if __name__ == "__main__":
    tyro.cli(main)
