"""The recorded training in a folder, attacked; what was found joins its record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cutlayer.attacks.training.base import LabelAttack
from cutlayer.attacks.training.view import TrainingAttack
from cutlayer.bounded import reason
from cutlayer.errors import DataError
from cutlayer.privacy.transcripts import leaks, parties
from cutlayer.protocols.plan import load
from cutlayer.protocols.setup import prepare
from cutlayer.records import training
from cutlayer.records.training import Leak, TrainingRecord


def attack(
    folder: Path,
    chosen: Sequence[str],
    labels: Mapping[str, LabelAttack],
    inputs: Mapping[str, TrainingAttack],
    *,
    known: int,
    count: int,
    steps: int,
    data_root: Path | None,
    say: Callable[[str], None],
) -> TrainingRecord:
    """Attack the transcripts in the folder of a run; return the record, which is written as well.

    Args:
        folder: Folder of the run.
        chosen: The parties; the server and the first client if empty, as far as they have transcripts here.
        labels: See `cutlayer.privacy.transcripts.leaks`, here and below.
        inputs: Attacks on inputs.
        known: Samples of each class whose labels are known.
        count: Samples of a round, at most.
        steps: Steps that an attack on inputs takes.
        data_root: Folder of the data sets that are not embedded.
        say: Called with each line of progress.

    Raises:
        DataError: The folder holds no training, or no transcript of a party.
    """
    try:
        record = training.read(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} is no folder of a training, runs/ID: {reason(error)}.") from None
    here = parties(folder)
    for name in chosen:
        if name not in here:
            known_here = (
                f"those of {', '.join(here)} are there" if here else "record one with `cutlayer train --record`"
            )
            raise DataError(f"{folder} holds no transcript of {name!r:.40}; {known_here}.")
    usual = [name for name in here if not name.startswith("client-")] + [n for n in here if n.startswith("client-")][:1]
    if not (attacked := chosen or usual):
        raise DataError(f"{folder} holds no transcript; record one with `cutlayer train --record`.")
    setup = prepare(load(folder / training.PLAN), data_root)
    found = list[Leak]()
    for party in attacked:
        found += leaks(
            folder, party, setup, labels, inputs, known=known, count=count, steps=steps, data_root=data_root, say=say
        )
    others = tuple(leak for leak in record.leaks if leak.party not in attacked)
    record = replace(record, leaks=(*others, *found))
    training.write(folder, record)
    return record
