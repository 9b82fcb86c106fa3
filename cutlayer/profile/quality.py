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
from cutlayer.models.manifest import Manifest
from cutlayer.onnx.session import open_session
from cutlayer.profile.candidate import Candidate
from cutlayer.profile.sampling import Key
from cutlayer.wire.codecs.packed import codec_named
from defenses.base import deployed
from edge.onnx_head import OnnxHead
from edge.pipeline import Head, Pipeline

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

    manifest, test = Manifest.load(candidate.folder), splits.test.take(IMAGES)
    head = one_by_one(OnnxHead(candidate.folder / "head.onnx"))
    tail = open_session(candidate.folder / "tail.onnx", 1, "smashed", "logits")
    manifest.verify(candidate.folder, "head.onnx", "tail.onnx")
    defense, rng = deployed(candidate.folder), np.random.default_rng(0)

    def right(smashed: NDArray[np.float32]) -> int:
        answers = [tail.run(["logits"], {"smashed": one[None]})[0].argmax() for one in smashed]
        return int((np.array(answers) == test.labels).sum())

    smashed = head(test.images)
    whole = asdict(proportion(right(smashed), len(test)))
    found = {}
    for codec in codecs:
        # The head has been run: only what follows it differs between codecs.
        sent = Pipeline(lambda _: smashed, defense, codec_named(codec)).wire(test.images, rng)
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

    from attacks.view import View
    from cutlayer.machine.compute import pick_device
    from cutlayer.privacy.score import row
    from cutlayer.registry import ATTACKS as MADE

    manifest, defense = Manifest.load(candidate.folder), deployed(candidate.folder)
    private, auxiliary = splits.private.take(VICTIMS), splits.auxiliary.take(AUXILIARY)
    head, found = _remembering(one_by_one(OnnxHead(candidate.folder / "head.onnx"))), {}
    for codec in codecs:
        say(f"attacking {candidate.cut} with {codec}")
        pipeline = Pipeline(head, defense, codec_named(codec))
        rng = np.random.default_rng([seed, 1])

        def query(images: torch.Tensor, pipeline: Pipeline = pipeline, rng: np.random.Generator = rng) -> torch.Tensor:
            return torch.tensor(pipeline.wire(images.cpu().numpy(), rng), device=images.device)

        view = View(
            input=manifest.input, smashed=manifest.smashed, auxiliary=auxiliary, tail=torch.nn.Identity(),
            device=pick_device(), seed=seed, random=defense.random, _query=query,
        )  # fmt: skip
        sent = torch.from_numpy(np.array(pipeline.wire(private.images, rng))).to(view.device)
        scores = {}
        for name, options in ATTACKS.items():
            attack = MADE.make(name, **options)
            attack.fit(view)
            scores[name] = asdict(row(attack.invert(sent).float().cpu(), splits, seed).leakage_gain)
        worst = max(scores, key=lambda name: scores[name]["value"])
        found[candidate.cut, codec] = {"leakage": {**scores[worst], "attack": worst, "of_each": scores}}
    return found


def one_by_one(head: Head) -> Head:
    """The same head for any batch, also where its file takes one sample at a time."""
    return lambda images: np.concatenate([head(images[i : i + 1]) for i in range(len(images))])


def _remembering(head: Head) -> Head:
    """The same head; of each batch it has seen it knows the answer, for every codec asks for the same ones."""
    known: dict[bytes, NDArray[np.float32]] = {}

    def answer(images: NDArray[np.float32]) -> NDArray[np.float32]:
        key = images.tobytes()
        if key not in known:
            known[key] = head(images)
        return known[key].copy()

    return answer
