"""The records of a study of attacks on updates: these classes write and read its files, and their fields are the keys.

The folder of a study holds `gradients.toml` (the plan), `env.json`, and in `cells` one `ID.json` for each attack on one
kind of update under one defense, with `ID.npz` beside it, a few of the samples and what the attack made of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from cutlayer.records.cells import SCHEMA, Cells
from cutlayer.records.run import Estimate, Published

PLAN = "gradients.toml"
CELLS = "cells"


@dataclass(frozen=True, kw_only=True)
class UpdateScore:
    """How near an attack comes.

    Attributes:
        n: Number of samples that were scored.
        metrics: Mean score by name: those of every run for these inputs, and ``rebuilt`` (share of images above 25
            dB), or for tables ``features`` and ``exact rows``; ``labels`` (share of the labels) and ``whole
            batches`` where the attack recovers labels.
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


STUDY = Cells("update", UpdateRecord, PLAN, CELLS)
begin, write, read, finished, pictures = (
    STUDY.begin, STUDY.write, STUDY.read, STUDY.finished, STUDY.pictures
)  # fmt: skip
"""How the cells of a study of updates are written and read; its pictures are ``originals`` and ``rebuilt``,
``(N, *input.shape)`` each, and ``legend``, the bytes of `cutlayer.data.legend.Legend.text`, of rows and sentences."""
