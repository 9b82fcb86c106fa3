"""What a cut is worth and what it gives away: accuracy of the whole deployment, and leakage to the cheap attacks.

Both are of what is really sent: ``wire(x) = encode(protect(head(x)))``, by the device's own pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.splits import Splits
from cutlayer.profile.candidate import Candidate
from cutlayer.profile.sampling import Key
from cutlayer.split_folder import Half, open_split
from cutlayer.wire.codecs.packed import codec_named
from defenses.base import deployed
from edge.pipeline import Pipeline

Say = Callable[[str], None]

IMAGES = 500
"""Test images behind an accuracy."""

VICTIMS, AUXILIARY = 200, 2000
"""Private images that are attacked, and images of the attacker's own, at most."""

ATTACKS: dict[str, dict[str, Any]] = {"ridge": {}, "nearest": {}, "decoder": {"capacity": "res_normN0C16", "epochs": 8}}
"""The cheap ones: seconds on a CPU. A cut that withstands them may yet fall to a stronger one."""


def accuracy(candidate: Candidate, codecs: Sequence[str], splits: Splits) -> dict[Key, dict[str, Any]]:
    """Right answers of tail(wire(x)) with each codec, and of the model without any, with n and a 95 % interval.

    Args:
        candidate: The cut.
        codecs: To compare.
        splits: Of the data set that the model was trained on.
    """
    from cutlayer.metrics.interval import proportion

    split, test = open_split(candidate.folder), splits.test.take(IMAGES)
    head, tail = one_by_one(split.head()), one_by_one(split.tail(threads=1))
    defense, rng = deployed(split), np.random.default_rng(0)

    def right(smashed: NDArray[np.float32]) -> int:
        return int((tail(smashed).argmax(axis=1) == test.labels).sum())

    smashed = head(test.inputs)
    whole = asdict(proportion(right(smashed), len(test)))
    found = {}
    for codec in codecs:
        # The head has been run: only what follows it differs between codecs.
        sent = Pipeline(lambda _: smashed, defense, codec_named(codec)).wire(test.inputs, rng)
        found[candidate.cut, codec] = {"accuracy": asdict(proportion(right(sent), len(test))), "whole_accuracy": whole}
    return found


def leakage(
    candidate: Candidate, codecs: Sequence[str], splits: Splits, seed: int, say: Say
) -> dict[Key, dict[str, Any]]:
    """Leakage gain of the strongest of `ATTACKS` on private images, with its interval, and that of each.

    Args:
        candidate: The cut.
        codecs: To compare.
        splits: Victims and attacker have parts of it that share no image.
        seed: Of the attacks.
        say: Told what is being done.
    """
    import torch

    from attacks.view import Access
    from cutlayer import registry
    from cutlayer.privacy.releases import Releases
    from cutlayer.privacy.score import row
    from cutlayer.privacy.view import view_of

    split = open_split(candidate.folder)
    private, auxiliary = splits.private.take(VICTIMS), splits.auxiliary.take(AUXILIARY)
    # Every codec asks for the same images.
    head, found = Releases(one_by_one(split.head()), repeats=True).reader(), {}
    for codec in codecs:
        say(f"attacking {candidate.cut} with {codec}")
        seen = view_of(split, Access.BLACK_BOX, auxiliary, codec=codec, head=head, seed=seed)
        arrived = seen.query(torch.from_numpy(private.inputs)).to(seen.device)
        scores = {}
        for name, options in ATTACKS.items():
            attack = registry.ATTACKS.make(name, **options)
            attack.fit(seen)
            scores[name] = asdict(row(attack.invert(arrived).float().cpu(), splits, seed).leakage_gain)
        worst = max(scores, key=lambda name: scores[name]["value"])
        found[candidate.cut, codec] = {"leakage": {**scores[worst], "attack": worst, "of_each": scores}}
    return found


def one_by_one(head: Half) -> Half:
    """The same head for any batch, also where its file takes one sample at a time."""
    return lambda images: np.concatenate([head(images[i : i + 1]) for i in range(len(images))])
