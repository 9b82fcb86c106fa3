"""What the plans of studies have in common: their entries, the victim's model, and the ids of their cells."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cutlayer.errors import ConfigError, near
from cutlayer.experiment.spec import file_digest
from cutlayer.models.start import RANDOM, Start
from cutlayer.options import check
from cutlayer.registry import DATASETS, MODELS, Registry
from cutlayer.spec import input_shape
from cutlayer.tables import Named, Options, expand, record, tables, toml_value


def entries(key: str, table: Mapping[str, Any], default: Options | None = None) -> list[Options]:
    """The entries of a list of tables, one for each combination of the values in their lists."""
    if key not in table and default is None:
        return []
    return [one for entry in tables(key, table.get(key, default)) for one in expand(entry)]


def model(value: Any) -> tuple[str, Start]:
    """The name of a model and how it begins, from a name or the table ``[model]``."""
    if not isinstance(value, dict):
        check("model", str, value)
        return value, RANDOM
    if "name" not in value:
        raise ConfigError("[model] needs a name.")
    return value["name"], record(Start, {key: entry for key, entry in value.items() if key != "name"}, "model")


def check_top(table: Mapping[str, Any]) -> None:
    """Refuse a plan without data and model, or with names or texts that are none; the epochs stand at its top."""
    for key in ("data", "model"):
        if key not in table:
            raise ConfigError(f"The key {key!r} is missing.")
    for key in ("name", "claim", "data", "input"):
        check(key, str, table.get(key, ""))
    how = table.get("training", {})
    if isinstance(how, dict) and "epochs" in how:
        raise ConfigError("The epochs of the victim's model stand at the top of the plan: epochs = [0, 2].")
    name, _ = model(table["model"])
    if not (DATASETS.takes(table["data"]) and MODELS.takes(name)):
        _ = DATASETS[table["data"]], MODELS[name]
    if table.get("input"):
        input_shape(table["input"])


def check_differ(*lists: Sequence[str]) -> None:
    """Refuse two entries of one title."""
    for labels in lists:
        if len(set(labels)) < len(labels):
            raise ConfigError(f"Two entries are {max(labels, key=labels.count)!r}; let them differ, or drop one.")


def check_known(where: str, values: Collection[Any], accepted: Collection[Any]) -> None:
    """Refuse a value that is not among the accepted ones; the message names those that are near."""
    for value in values:
        if value not in accepted:
            raise ConfigError(f"{where} names {value!r:.80}; {near(str(value), [str(v) for v in sorted(accepted)])}")


def identity(data: str, name: str, start: Start) -> Options:
    """What determines the data, the model and how it begins, as plain values."""
    weights = file_digest(Path(start.weights)) if start.weights else ""
    return {
        "data": DATASETS.identity(data),
        "model": MODELS.identity(name),
        "start": asdict(start) | {"weights": weights},
    }


def identified(of: Named, registry: Registry) -> Options:
    """What determines an attack or a defense, as plain values; its title does not."""
    return {"name": registry.identity(of.name), "options": of.options}


def digest(parts: Options) -> str:
    """12 hex digits over plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def entry(of: Named) -> Options:
    """An attack or a defense as a table of a plan."""
    return {"name": of.name, **({"title": of.title} if of.title else {}), **of.options}


def toml(top: Options, sections: Sequence[tuple[str, Options]]) -> str:
    """A plan as a file: the keys at its top, those without a text left out, and its sections with their headers."""
    lines = [f"{key} = {toml_value(value)}" for key, value in top.items() if value != ""]
    for header, table in sections:
        lines += ["", header, *(f"{key} = {toml_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"
