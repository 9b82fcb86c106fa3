"""Where else the rounds of a training are written: TensorBoard, MLflow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from cutlayer.bounded import reason
from cutlayer.errors import ConfigError, near
from cutlayer.records.training import RoundRecord, TrainingRecord

Track = Callable[[RoundRecord], None]


def tensorboard(record: TrainingRecord, folder: Path) -> Track:
    """Scalars in the folder ``tensorboard`` of the run, for ``tensorboard --logdir runs``."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "tensorboard"), purge_step=len(record.rounds) + 1)

    def track(entry: RoundRecord) -> None:
        for name, value in scalars(entry):
            writer.add_scalar(name, value, entry.round)
        writer.flush()

    return track


def mlflow(record: TrainingRecord, folder: Path) -> Track:
    """Metrics of one run in the experiment ``cutlayer``, at the place that MLFLOW_TRACKING_URI names."""
    import mlflow as client

    client.set_experiment("cutlayer")
    run = client.start_run(run_name=f"{record.name} {record.id}")
    client.log_params({"plan": record.plan, "id": record.id, "protocol": record.label, "seed": record.seed})

    def track(entry: RoundRecord) -> None:
        client.log_metrics(
            {name.replace(" ", "_"): value for name, value in scalars(entry)}, entry.round, run_id=run.info.run_id
        )
        if entry.round == record.planned:
            client.end_run()

    return track


TRACKERS: Mapping[str, Callable[[TrainingRecord, Path], Track]] = {"tensorboard": tensorboard, "mlflow": mlflow}
"""What a training is written to, by name."""


def check(name: str) -> None:
    """Refuse the name of a tracker that does not exist. Raises ConfigError."""
    if name not in TRACKERS:
        raise ConfigError(f"--log knows no {name!r:.80}; {near(name, TRACKERS)}")


def opened(name: str, record: TrainingRecord, folder: Path) -> Track:
    """A tracker by name, which is called with each round.

    Raises:
        ConfigError: It cannot be written to; the message says why.
        ModuleNotFoundError: Its package is not installed.
    """
    try:
        return TRACKERS[name](record, folder)
    except ModuleNotFoundError:
        raise
    except Exception as error:  # whatever the package raises
        raise ConfigError(f"--log {name} cannot be used: {reason(error)}") from error


def scalars(entry: RoundRecord) -> Iterator[tuple[str, float]]:
    """The numbers of a round by name; those that are not known are left out."""
    numbers = {
        "accuracy/all": entry.accuracy.value if entry.accuracy else math.nan,
        "accuracy/clients mean": entry.mean,
        "accuracy/clients worst 10 percent": entry.worst,
        "loss/test": entry.loss,
        **{f"bytes/{kind}": float(n) for kind, n in entry.traffic.items()},
        "seconds/round": entry.seconds,
        "seconds/server": entry.server_s,
        "seconds/slowest client": max((c.busy_s for c in entry.clients if math.isfinite(c.busy_s)), default=math.nan),
    }
    return ((name, value) for name, value in numbers.items() if math.isfinite(value))
