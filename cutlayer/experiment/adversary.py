"""The attackers: what each may touch, and what they rebuild from the tap."""

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attacks.base import Attack
from attacks.view import Access, Query, View
from cutlayer.data.splits import Splits
from cutlayer.experiment.measure import Observed
from cutlayer.experiment.spec import Experiment, Named
from cutlayer.machine.compute import pick_device
from cutlayer.models.halves import SplitModel
from cutlayer.privacy.score import row
from cutlayer.records.files import read_json, write_arrays, write_json
from cutlayer.records.run import AttackRecord
from cutlayer.records.schema import dump, load
from cutlayer.registry import ATTACKS
from cutlayer.wire.codecs.packed import codec_named
from defenses.base import Defense
from edge.onnx_head import OnnxHead
from edge.pipeline import Head, Pipeline

Say = Callable[[str], None]

SHOWN = 12
"""Private images whose reconstructions are kept as pictures: those with most contrast, for they say most to the eye."""


def attacks(experiment: Experiment, defense: Defense) -> list[tuple[Named, Attack]]:
    """The experiment's attacks, not yet fitted; those that average releases only where there is noise."""
    made = [(named, ATTACKS.make(named.name, **named.options)) for named in experiment.attacks]
    return [(named, attack) for named, attack in made if defense.random or attack.n_releases == 1]


def view(access: Access, split: SplitModel, query: Query, defense: Defense, data: Splits, seed: int) -> View:
    """The one place where a threat model becomes an object: what `access` withholds is None."""
    white = access >= Access.WHITE_BOX
    return View(
        input=split.input,
        smashed=split.smashed,
        auxiliary=data.auxiliary,
        tail=split.tail,
        device=pick_device(),
        seed=seed,
        random=defense.random,
        _query=query if access >= Access.BLACK_BOX else None,
        _head=split.head if white else None,
        _defense=defense if white else None,
    )


def smashed(folder: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the deployed head gives for these images, before any protection."""
    return OnnxHead(folder / "head.onnx", threads=torch.get_num_threads())(images)


def wire(folder: Path, defense: Defense, codec: str) -> Pipeline:
    """The device's own pipeline, from the split folder that it was given."""
    head = OnnxHead(folder / "head.onnx", threads=torch.get_num_threads())
    return Pipeline(remembering(head), defense, codec_named(codec))


def remembering(head: Head) -> Head:
    """The same head; asked for a batch once more, it knows the answer. Whoever averages asks for each many times."""
    last: list[NDArray[np.float32]] = []

    def answer(images: NDArray[np.float32]) -> NDArray[np.float32]:
        if not (last and np.array_equal(last[0], images)):
            last[:] = images.copy(), head(images)
        return last[1].copy()

    return answer


def oracle(pipeline: Pipeline, seed: int, named: Named) -> Query:
    """What the server would receive for any input: the device's pipeline, with fresh draws at each call."""
    rng = np.random.default_rng([seed, *named.key.encode()])

    def query(images: Tensor) -> Tensor:
        return torch.tensor(pipeline.wire(images.detach().cpu().numpy(), rng), device=images.device)

    return query


def attack(
    named: Named, attack: Attack, seen: View, observed: Sequence[Observed], data: Splits, work: Path, say: Say
) -> list[AttackRecord]:
    """Fit once, rebuild the private images from the tap of each deployment, score.

    Args:
        named: What the records call it; the rows of an interrupted run are taken up by its label.
        attack: Not yet fitted.
        seen: All that the attack may touch.
        observed: The taps.
        data: The truth, for the scores alone.
        work: Where the rows and the pictures of each finished attack stay meanwhile.
        say: Told when there is work to do.

    Returns:
        One record for each deployment.
    """
    path = _path(work, named).with_suffix(".json")
    if path.exists():
        return [load(AttackRecord, record) for record in read_json(path)]
    work.mkdir(exist_ok=True)
    say(f"attacking with {named.label}")
    fit_s = _seconds(lambda: attack.fit(seen))[1]
    rows: list[AttackRecord] = []
    for one in observed:
        releases = torch.from_numpy(one.releases[: attack.n_releases]).to(seen.device)
        images, invert_s = _seconds(lambda releases=releases: attack.invert_releases(releases).float().cpu())
        if one is observed[0]:
            write_arrays(
                _path(work, named).with_suffix(".npz"), {"images": _bytes(images.numpy()[_shown(data, len(images))])}
            )
        rows.append(
            AttackRecord(
                attack=named.name,
                label=named.label,
                access=attack.needs.name,
                deployment=one.deployment.label,
                n_releases=attack.n_releases,
                fit_s=fit_s,
                invert_s=invert_s,
                **vars(row(images, data, seen.seed)),
            )
        )
    write_json(path, dump(rows))
    return rows


def pictures(
    attacks: Sequence[tuple[Named, Attack]], data: Splits, experiment: Experiment, work: Path
) -> dict[str, NDArray[Any]]:
    """Originals and what each attack made of them at the first deployment, ``(K, C, H, W)`` uint8."""
    shown = _shown(data, experiment.measure.private)
    arrays: dict[str, NDArray[Any]] = {
        "originals": _bytes(data.private.images[shown]),
        "labels": data.private.labels[shown],
    }
    for named, _ in attacks:
        with np.load(_path(work, named).with_suffix(".npz"), allow_pickle=False) as kept:
            arrays[named.label] = kept["images"]
    return arrays


def _shown(data: Splits, n: int) -> NDArray[np.intp]:
    """Which of the first n private images are kept as pictures, in their order."""
    contrast = data.private.images[:n].std(axis=(1, 2, 3))
    return np.sort(np.argsort(-contrast, kind="stable")[:SHOWN])


def _path(work: Path, named: Named) -> Path:
    """Where a finished attack's products stay; a hash, for options may hold what a file name may not."""
    return work / hashlib.sha256(named.key.encode()).hexdigest()[:16]


def _seconds(work: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    done = work()
    return done, time.perf_counter() - start


def _bytes(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(images * 255).astype(np.uint8)
