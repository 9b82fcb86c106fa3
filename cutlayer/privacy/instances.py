"""Attacks that rebuild inputs from the answers to them, scored against the inputs themselves.

Unlike a picture of a class, such a picture has an original: the input of a victim whose answer was overheard. So the
metrics are those of reconstructions (`cutlayer.privacy.score`). The floor beside them is `class-mean`, since an answer
names the class in any case.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cutlayer.attacks.answers.base import Seen
from cutlayer.attacks.answers.view import ClassView, Reply
from cutlayer.data.splits import Dataset, Splits
from cutlayer.data.withheld import ClassData
from cutlayer.defenses.answers.base import UNTOLD
from cutlayer.metrics.image import mse
from cutlayer.metrics.interval import resampled
from cutlayer.privacy.judges import Judges
from cutlayer.privacy.score import Chosen, Score, score
from cutlayer.records.run import Estimate

MASK = 0.4
"""Share of each side of an input that is hidden from who sees it masked; its area is a sixth of the input."""


@dataclass(frozen=True)
class InstanceScore:
    """How near rebuilt inputs come to the true ones.

    Attributes:
        score: The metrics of reconstructions, IIP and what the first judge recognizes among them.
        over_floor: Mean squared error over that of the floor; below 1, the answers told more than the class.
    """

    score: Score
    over_floor: Estimate


def victims_inputs(data: ClassData, n: int, seed: int) -> Dataset:
    """The first n inputs of the victim's classes, in an order of this seed, that the victim was not trained on."""
    return data.held_out.at(np.random.default_rng(seed).permutation(len(data.held_out))[:n])


def seen_of(view: ClassView, inputs: Dataset, *, explained: bool = False, masked: bool = False) -> Seen:
    """What an attacker overhears of the victim's answers to these inputs; its own questions are not counted.

    Args:
        view: The attacker's; what it withholds is not seen. A service that tells labels only gives one class the
            probability 1.
        inputs: The victims' inputs.
        explained: Whether each answer comes with its explanation.
        masked: Whether the inputs are seen as well, but for a rectangle in their middle.
    """
    images = torch.from_numpy(inputs.inputs)
    answers = torch.cat([view.service.ask(part) for part in images.split(250)])
    if view.service.reply is Reply.LABEL:
        answers = torch.where(torch.arange(answers.shape[1]) == answers.argmax(1)[:, None], 0.0, UNTOLD)
    maps = view.explain(images) if explained else None
    return Seen(answers, maps, images * ~center(images), center(images)) if masked else Seen(answers, maps)


def center(images: Tensor) -> Tensor:
    """A rectangle in the middle of images ``(N, C, H, W)``, `MASK` of each side, ``(1, 1, H, W)`` bool."""
    mask = torch.zeros(1, 1, *images.shape[2:], dtype=torch.bool)
    rows, columns = (slice(round(side * (1 - MASK) / 2), round(side * (1 + MASK) / 2)) for side in images.shape[2:])
    mask[..., rows, columns] = True
    return mask


def scored(
    rebuilt: Tensor, floor: Tensor, inputs: Dataset, auxiliary: Dataset, judges: Judges, seed: int
) -> InstanceScore:
    """Score rebuilt inputs.

    Args:
        rebuilt: ``(N, C, H, W)``.
        floor: What the floor `class-mean` shows for the same inputs.
        inputs: The victims' inputs.
        auxiliary: The attacker's own, whose mean is what anybody knows before an answer.
        judges: The judges of the classes.
        seed: Seed of the resampling.
    """
    originals = torch.from_numpy(inputs.inputs)
    errors, least = (mse(images, originals).double().numpy() for images in (rebuilt, floor))
    over = resampled(lambda index: errors[index].mean(-1) / least[index].mean(-1), len(errors), seed)
    data = judges.data
    parts = Splits(data.name, data.classes, data.train, auxiliary, inputs, data.held_out)
    chosen = Chosen(("recognized", "iip", "rdlv"), judge=judges.first)
    return InstanceScore(score(rebuilt, parts, seed, chosen), over)
