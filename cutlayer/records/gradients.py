"""The records of a study of attacks on updates: these classes write and read its files, and their fields are the keys.

The folder of a study holds `gradients.toml` (the plan), `env.json`, and in `cells` one `ID.json` for each attack on one
kind of update under one defense, with `ID.npz` beside it, a few of the samples and what the attack made of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cutlayer.bounded import read_arrays, read_json
from cutlayer.records.dataclass_json import dump, load
from cutlayer.records.files import write_arrays, write_json, write_text
from cutlayer.records.run import Estimate, Published

PLAN = "gradients.toml"
CELLS = "cells"
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class UpdateScore:
    """How near an attack comes.

    Attributes:
        n: Number of samples that were scored.
        metrics: Mean score by name: those of every run, and ``rebuilt`` (share of images above 25 dB), or for tables
            ``features`` and ``exact rows``; ``labels`` (share of the labels) and ``whole batches`` where the attack
            recovers labels.
        leakage_gain: Share of the mean sample's error that the attack removes.
    """

    n: int
    metrics: dict[str, Estimate]
    leakage_gain: Estimate


@dataclass(frozen=True, kw_only=True)
class UpdateRecord:
    """One attack on updates of one kind, made by clients with one defense.

    Attributes:
        id: Id of the cell.
        study: Id of the study.
        data: Name of the data set.
        model: Name of the model.
        epochs: Passes over the training samples that the victim's model has had before; of a recorded training, rounds.
        samples: Samples of one update.
        steps: The client's local steps; 0 for a gradient.
        defense: Name of the defense.
        defense_label: Its title with its options.
        attack: Name of the attack, or of the floor.
        label: Its title with its options and with what the attacker knows.
        knows: What the attacker is granted: ``labels``, ``defense``, ``architecture``.
        of: Whether each ``client``'s update is attacked, or the ``sum`` of several.
        floor: Whether it is no attack, but what an attack has to beat.
        wire: The protocol of the training whose server has recorded the updates; empty where a study made them.
        updates: Number of updates.
        seconds: Time of the attack.
        accuracy: Of the victim's model on test samples.
        own: Scored against the client's own samples; None where the attack failed.
        used: Scored against the samples that the update was computed from, where a defense has changed them.
        failed: Why there is no score; empty where there is one.
        published: Values of the literature; None where the plan states none.
    """

    schema: int = SCHEMA
    id: str
    study: str
    name: str
    claim: str = ""
    data: str
    model: str
    seed: int
    epochs: int
    samples: int
    steps: int = 0
    local_batch: int = 0
    lr: float = 0.0
    defense: str
    defense_label: str
    attack: str
    label: str
    knows: tuple[str, ...] = ()
    of: str = "client"
    floor: bool = False
    wire: str = ""
    updates: int = 0
    seconds: float = 0.0
    accuracy: Estimate | None = None
    own: UpdateScore | None = None
    used: UpdateScore | None = None
    failed: str = ""
    published: Published | None = None


def begin(folder: Path, plan: str, env: Mapping[str, Any]) -> None:
    """Write what stands at the begin of a study: the plan as TOML, and the environment. Raises WriteError."""
    write_text(folder / PLAN, plan)
    write_json(folder / "env.json", env)


def write(folder: Path, record: UpdateRecord, pictures: Mapping[str, NDArray[Any]]) -> None:
    """Write a finished cell into the folder of its study. Raises WriteError."""
    if pictures:
        write_arrays(folder / CELLS / f"{record.id}.npz", pictures)
    write_json(folder / CELLS / f"{record.id}.json", dump(record))


def read(path: Path) -> UpdateRecord:
    """The record in a file.

    Raises:
        OSError: There is no such file.
        KeyError, TypeError, ValueError: It is not of this schema.
    """
    value: Any = read_json(path)
    if value.get("schema", SCHEMA) != SCHEMA:
        raise ValueError(f"schema {value['schema']!r} where this version of cutlayer reads {SCHEMA}")
    return load(UpdateRecord, value)


def pictures(folder: Path, record: UpdateRecord) -> Mapping[str, NDArray[Any]]:
    """``originals`` and ``rebuilt``, ``(N, *input.shape)`` float16 each; nothing where they cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        return read_arrays(folder / CELLS / f"{record.id}.npz")
    return {}
