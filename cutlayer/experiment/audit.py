"""An audit of a split folder in seconds: cheap attacks, a watch list, and what no attacker exceeds.

The releases are what the device's own pipeline gives, without a device, a server or a socket. The attacks are weak:
what they do not find, others may. The watch list and the ceiling do not depend on how clever an attack is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cutlayer.attacks.view import CLOUD, SMASHED, Access
from cutlayer.data.overlap import check_apart
from cutlayer.data.splits import Dataset
from cutlayer.defenses.base import deployed
from cutlayer.errors import ConfigError
from cutlayer.experiment import adversary
from cutlayer.experiment.adversary import Achieved
from cutlayer.experiment.flags import above_ceiling
from cutlayer.experiment.offline import attackers_data, defense_named
from cutlayer.machine.compute import tune_allocator
from cutlayer.metrics.interval import proportion
from cutlayer.models.kept import Say
from cutlayer.privacy.ceiling import ceiling
from cutlayer.privacy.releases import MOST_BYTES, Releases
from cutlayer.privacy.score import NO_MORE
from cutlayer.privacy.view import Wire, wire
from cutlayer.records.run import Ceiling, Estimate, FailedAttack, Flag
from cutlayer.split_folder import Half, SplitFolder
from cutlayer.tables import Named

CHEAP = ("mean-image", "nearest", "ridge")
"""Attacks that take seconds at any cut."""
TESTS = 500
"""Test inputs that measure the accuracy, at most."""


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        defense: Title of the defense with its options.
        accuracy: Right answers on what is sent; None where the model answers with other classes than those of the data.
        achieved: Figures of the attacks.
        failed: Those that failed.
        ceiling: What no attacker exceeds.
        flags: Where an attack is above it.
    """

    defense: str
    accuracy: Estimate | None
    achieved: Achieved
    failed: Sequence[FailedAttack]
    ceiling: Ceiling
    flags: Sequence[Flag]


def audit(
    split: SplitFolder,
    data: str,
    *,
    codec: str,
    count: int,
    auxiliary: int,
    releases: int,
    seed: int,
    data_root: Path | None,
    say: Say,
) -> Audit:
    """Attack a split folder with cheap attacks and a watch list, and compute its ceiling.

    Args:
        split: The split folder.
        data: Name or path of the data set.
        codec: Name of the codec on the wire.
        count: Private inputs that are attacked.
        auxiliary: Inputs of the attackers; 0 for all.
        releases: Releases of each input that the most patient attacker observes, where they differ.
        seed: Seed of the data's parts, the noise, the attackers and the intervals.
        data_root: Folder of the data sets that are not embedded.
        say: Called when there is work to do.

    Raises:
        ConfigError, DataError: Something cannot work.
    """
    tune_allocator()
    manifest, defense = split.manifest, deployed(split)
    if len(manifest.data_inputs) > 1:
        raise ConfigError(f"Attacks rebuild one input, and the head of {split.path} takes {len(manifest.data_inputs)}.")
    held = attackers_data(data, manifest, auxiliary, seed, data_root)
    check_apart(held, count)
    for note in held.notes:
        say(note)
    head = Releases(split.head(threads=torch.get_num_threads()), repeats=True, most_bytes=MOST_BYTES).reader()
    sent = wire(head, defense, codec, [seed, *b"device"])
    private, named = held.private.take(count), defense_named(manifest)
    times = releases if defense.random else 1
    seen = {"audit": {SMASHED: np.stack([sent(private.inputs) for _ in range(times)])}}
    asked = [Named(name) for name in CHEAP]
    asked += [Named("averaging", {"n_releases": times})] if times > 1 else []
    attacks = adversary.attacks(asked, defense)
    granted = Access.WHITE_BOX if split.has_halves else Access.BLACK_BOX
    attacks += adversary.watch_lists(attacks, defense, granted, CLOUD)
    view_for = adversary.viewer(
        split, head, defense, held.auxiliary, codec=codec, seed=seed, key=named.key, vantage=CLOUD
    )
    with tempfile.TemporaryDirectory(prefix="cutlayer-") as work:
        achieved, failed = adversary.attack_all(attacks, view_for, seen, held, NO_MORE, Path(work), say)
    say("computing the ceiling")
    bound = ceiling(defense, head, held, len(private), seed)
    same_classes = manifest.classes == len(held.classes)
    accuracy = _accuracy(sent, split.tail(), held.test.take(TESTS)) if same_classes else None
    return Audit(named.label, accuracy, achieved, failed, bound, tuple(above_ceiling(achieved, bound)))


def _accuracy(sent: Wire, tail: Half, test: Dataset) -> Estimate:
    answers = tail(sent(test.inputs)).argmax(axis=1)
    return proportion(int((answers == test.labels).sum()), len(test))
