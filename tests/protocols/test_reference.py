"""The short form of the reference run: what the protocols reach in a few rounds, on digits of 8 px.

`make bench-training-reference` runs the whole one; its figures are in docs/training.md.
"""

from pathlib import Path
from typing import Any

from cutlayer.deployment.training import in_process
from cutlayer.protocols.plan import parse
from cutlayer.protocols.setup import prepare

PLAN: dict[str, Any] = {
    "data": "digits", "model": "lenet", "cut": "pool1", "clients": 5, "rounds": 8, "samples": 800, "test": 200,
    "batch": 16, "evaluate_rounds": 8, "checkpoint_rounds": 0, "seed": 1, "optimizer": {"lr": 2e-3},
}  # fmt: skip


def accuracy(out: Path, protocol: str, partition: Any = "iid") -> float:
    record = in_process(prepare(parse(PLAN | {"protocol": protocol, "partition": partition})), out / protocol)
    assert record.last is not None
    assert record.last.accuracy is not None
    return record.last.accuracy.value


def test_evenly_divided_samples_train_nearly_as_well_as_at_one_place(tmp_path: Path) -> None:
    assert accuracy(tmp_path, "parallel") > 0.8


def test_one_tail_for_all_at_once_withstands_unevenly_divided_samples(tmp_path: Path) -> None:
    uneven = {"name": "dirichlet", "alpha": 0.1}
    assert accuracy(tmp_path, "parallel", uneven) > accuracy(tmp_path, "fedavg", uneven) + 0.2
