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
from cutlayer.records.profile import Identified, Leakage, Quality
from cutlayer.records.run import PIXELS, WATCH_LIST, Estimate
from cutlayer.split_folder import Half, only_smashed, open_split
from cutlayer.wire.codecs.packed import codec_named

IMAGES = 500
"""Number of test images that measure an accuracy, at most."""

VICTIMS, AUXILIARY = 200, 2000
"""Number of private images that are attacked, and of images of the attacker, at most."""

ATTACKS: dict[str, dict[str, dict[str, Any]]] = {
    "image": {"ridge": {}, "nearest": {}, "decoder": {"capacity": "res_normN0C16", "epochs": 8}},
    "table": {"ridge": {}, "nearest": {}, "table-decoder": {"epochs": 8}},
    "tokens": {"token-ridge": {}, "nearest-activation": {}},
}
"""Attacks that take seconds on a CPU, with their options. A stronger attack may succeed where they fail."""


LISTED = "watch-list"
"""The attack that picks an input from a list without any reconstruction."""


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
        if split.manifest.sequence:
            device = Pipeline(head, defense, codec_named(codec), split.manifest.length)
            right = int((device.answers(tail, test.inputs, rng).argmax(axis=1) == test.labels).sum())
        else:
            # The head has been run: only what follows it differs between codecs.
            right = n_correct(Pipeline(lambda _: smashed, defense, codec_named(codec)).wire(test.inputs, rng))
        quality[candidate.cut, codec] = Quality(proportion(right, len(test)), whole_accuracy)
    return quality


def leakage(candidate: Candidate, codecs: Sequence[str], splits: Splits, seed: int, say: Say) -> dict[Key, Quality]:
    """Leakage gain of the strongest of `ATTACKS` on private images with each codec, what they identify, the ceiling.

    Identified is the greatest share among those attacks, by their reconstructions, and a black-box watch list.
    """
    import torch

    from cutlayer import registry
    from cutlayer.attacks.view import Access
    from cutlayer.metrics.nearness import distances
    from cutlayer.privacy.ceiling import ceiling
    from cutlayer.privacy.identification import candidates, identification
    from cutlayer.privacy.releases import Releases
    from cutlayer.privacy.score import score
    from cutlayer.privacy.view import view_of
    from cutlayer.privacy.worst_case import worst

    split, pool = open_split(candidate.folder), candidates(splits)
    private, auxiliary = splits.private.take(VICTIMS), splits.auxiliary.take(AUXILIARY)
    # Every codec asks for the same images.
    head, quality = Releases(one_by_one(only_smashed(split.head())), repeats=True).reader(), dict[Key, Quality]()
    bound = ceiling(deployed(split), head, splits, VICTIMS, seed)
    for codec in codecs:
        say(f"attacking {candidate.cut} with {codec}")
        seen = view_of(split, Access.BLACK_BOX, auxiliary, codec=codec, head=head, seed=seed)
        arrived = seen.query(torch.from_numpy(private.inputs)).to(seen.device)
        gains, likely = dict[str, Estimate](), dict[str, torch.Tensor]()
        for name, options in ATTACKS[splits.modality.name].items():
            attack = registry.ATTACKS.make(name, **options)
            attack.fit(seen)
            images = attack.invert(arrived).to(pool.dtype).cpu()
            gains[name], likely[name] = score(images, splits, seed).leakage_gain, -distances(images, pool)
        listed = registry.ATTACKS.make(LISTED)
        listed.fit(seen)
        likely[LISTED] = listed.identify(arrived[None], pool.to(seen.device))
        found = [
            identification(
                scores, splits, attack=by, label=by, access=seen.access.name, deployment=candidate.cut, n_releases=1,
                how=WATCH_LIST if by == LISTED else PIXELS,
            )[0]
            for by, scores in likely.items()
        ]  # fmt: skip
        strongest, most = worst(gains), max(found, key=lambda record: record.top_1.value)
        quality[candidate.cut, codec] = Quality(
            leakage=Leakage(**vars(gains[strongest]), attack=strongest, of_each=gains),
            identified=Identified(**vars(most.top_1), attack=most.label, how=most.how, candidates=most.candidates),
            ceiling=bound,
        )
    return quality


def one_by_one(head: Half) -> Half:
    """The same head for any batch, also where its file takes one sample at a time."""
    return lambda images: np.concatenate([head(images[i : i + 1]) for i in range(len(images))])
