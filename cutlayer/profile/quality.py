"""Quality of a cut with a codec: accuracy of the whole deployment, and leakage to cheap attacks.

Both are measured on what is really sent: ``wire(x) = encode(protect(head(x)))``, by the device's own pipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.splits import Splits
from cutlayer.defenses.base import deployed
from cutlayer.edge.pipeline import Pipeline
from cutlayer.profile.plan import Say
from cutlayer.profile.prepare import Candidate
from cutlayer.profile.sampling import Key
from cutlayer.records.profile import Leakage, Quality
from cutlayer.records.run import Ceiling
from cutlayer.split_folder import Half, only_smashed, open_split
from cutlayer.wire.codecs.packed import codec_named

IMAGES = 500
"""Number of test images that measure an accuracy, at most."""

VICTIMS, AUXILIARY = 200, 2000
"""Number of private images that are attacked, and of images of the attacker, at most."""

ATTACKS: dict[str, dict[str, Any]] = {"ridge": {}, "nearest": {}, "decoder": {"capacity": "res_normN0C16", "epochs": 8}}
"""Attacks that take seconds on a CPU, with their options. A stronger attack may succeed where they fail."""


def accuracy(candidate: Candidate, codecs: Sequence[str], splits: Splits) -> dict[Key, Quality]:
    """Right answers of tail(wire(x)) with each codec, and of the model without any, with n and a 95 % interval."""
    from cutlayer.metrics.interval import proportion

    split, test = open_split(candidate.folder), splits.test.take(IMAGES)
    head, tail = one_by_one(only_smashed(split.head())), one_by_one(split.tail(threads=1))
    defense, rng = deployed(split), np.random.default_rng(0)

    def n_correct(smashed: NDArray[np.float32]) -> int:
        return int((tail(smashed).argmax(axis=1) == test.labels).sum())

    smashed = head(test.inputs)
    whole_accuracy = proportion(n_correct(smashed), len(test))
    quality = {}
    for codec in codecs:
        # The head has been run: only what follows it differs between codecs.
        sent = Pipeline(lambda _: smashed, defense, codec_named(codec)).wire(test.inputs, rng)
        quality[candidate.cut, codec] = Quality(proportion(n_correct(sent), len(test)), whole_accuracy)
    return quality


def leakage(
    candidate: Candidate, codecs: Sequence[str], splits: Splits, seed: int, say: Say
) -> tuple[dict[Key, Leakage], Ceiling]:
    """Leakage gain of the strongest of `ATTACKS` on private images with each codec, and what no attacker exceeds."""
    import torch

    from cutlayer import registry
    from cutlayer.attacks.view import Access
    from cutlayer.privacy.ceiling import ceiling
    from cutlayer.privacy.releases import Releases
    from cutlayer.privacy.score import score
    from cutlayer.privacy.view import view_of
    from cutlayer.privacy.worst_case import worst

    split = open_split(candidate.folder)
    private, auxiliary = splits.private.take(VICTIMS), splits.auxiliary.take(AUXILIARY)
    # Every codec asks for the same images.
    head, leakages = Releases(one_by_one(only_smashed(split.head())), repeats=True).reader(), {}
    for codec in codecs:
        say(f"attacking {candidate.cut} with {codec}")
        seen = view_of(split, Access.BLACK_BOX, auxiliary, codec=codec, head=head, seed=seed)
        arrived = seen.query(torch.from_numpy(private.inputs)).to(seen.device)
        scores = {}
        for name, options in ATTACKS.items():
            attack = registry.ATTACKS.make(name, **options)
            attack.fit(seen)
            scores[name] = score(attack.invert(arrived).float().cpu(), splits, seed).leakage_gain
        strongest = worst(scores)
        leakages[candidate.cut, codec] = Leakage(**vars(scores[strongest]), attack=strongest, of_each=scores)
    return leakages, ceiling(deployed(split), head, splits, VICTIMS, seed)


def one_by_one(head: Half) -> Half:
    """The same head for any batch, also where its file takes one sample at a time."""
    return lambda images: np.concatenate([head(images[i : i + 1]) for i in range(len(images))])
