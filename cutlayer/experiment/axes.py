"""The axes of a plan that may have several values: its models, each with its cuts, and its codecs."""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from cutlayer.attacks.view import SERVERS, Access, vantage_named
from cutlayer.errors import ConfigError
from cutlayer.experiment.spec import Measure, Training
from cutlayer.models.start import Start
from cutlayer.options import check
from cutlayer.registry import DATASETS, METRICS
from cutlayer.tables import Options, listed, only, record
from cutlayer.wire.codecs.packed import codec_named


def models(value: Any) -> list[Any]:
    """The entries of ``model``: names or tables, one or a list of them."""
    if value == []:
        raise ConfigError("model is an empty list; it needs a value.")
    return value if isinstance(value, list) else [value]


def victim(entry: Any, table: Mapping[str, Any]) -> tuple[Options, list[str]]:
    """What a model adds to an experiment: its name, how it begins, how it is trained; and the places of its cuts."""
    where, cuts = "cut", table.get("cut")
    if isinstance(entry, dict) and "cut" in entry:
        where, cuts = "model.cut", entry["cut"]
        entry = {key: value for key, value in entry.items() if key != "cut"}
    if cuts is None:
        raise ConfigError("The key 'cut' is missing.")
    name, start = _model(entry)
    how = table.get("training", {})
    if start.weights and isinstance(how, dict):
        # What has weights is trained further only if the plan says how long.
        how = {"epochs": 0, **how}
    entries: Options = {"model": name, "start": start, "training": record(Training, how, "training")}
    return entries, listed(where, str, cuts, some=True)


def _model(value: Any) -> tuple[str, Start]:
    """The name of a model and how it begins, from its name or from a table."""
    if not isinstance(value, dict):
        check("model", str, value)
        return value, Start()
    only(value, {"name", *(f.name for f in fields(Start))}, "model key")
    if "name" not in value:
        raise ConfigError("[model] needs a name.")
    check("model.name", str, value["name"])
    numbers = {key: tuple(map(float, listed(f"model.{key}", float, value.get(key, [])))) for key in ("mean", "std")}
    check("model.weights", str, value.get("weights", ""))
    start = Start(value.get("weights", ""), **numbers)
    if start.weights and not Path(start.weights).exists():
        raise ConfigError(f"There is no file {start.weights} with weights.")
    return value["name"], start


def measures(table: Any) -> list[Measure]:
    """What is measured, with each of the codecs.

    Raises:
        ConfigError: A value is wrong, or two of them contradict each other.
    """
    codecs: list[str] = [Measure.codec]
    if isinstance(table, dict) and "codec" in table:
        codecs = listed("measure.codec", str, table["codec"], some=True)
        table = {**table, "codec": codecs[0]}
    for codec in codecs:
        codec_named(codec)
    measure: Measure = record(Measure, table, "measure")
    if (other := measure.auxiliary_data) and not DATASETS.takes(other):
        _ = DATASETS[other]
    _ = Access.named(measure.access), vantage_named(measure.vantage)
    if (measure.vantage == SERVERS.name) != (measure.servers > 1):
        raise ConfigError(
            f"The vantage {SERVERS.name} is that of 2 servers or more, and others that of one; measure.vantage is "
            f"{measure.vantage!r}, and measure.servers is {measure.servers}."
        )
    metrics = measure.metrics
    labels = [*METRICS, *map(METRICS.label, filter(METRICS.is_own, metrics))]
    if len(set(labels)) < len(labels):
        raise ConfigError(f"There is another metric {max(labels, key=labels.count)!r}; name yours differently.")
    for metric in metrics:
        METRICS.load(metric)
        if metrics.count(metric) > 1:
            raise ConfigError(f"measure.metrics names {metric!r} twice.")
    return [replace(measure, codec=codec) for codec in codecs]
