"""Updates of MNIST images in process, and how near to them an attack comes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

from cutlayer.attacks.gradients.base import UpdateAttack
from cutlayer.attacks.gradients.client import Made, observed
from cutlayer.attacks.gradients.view import UpdateView
from cutlayer.data.splits import Splits
from cutlayer.defenses.updates.base import UpdateDefense
from cutlayer.defenses.updates.none import Unprotected

UNPROTECTED = Unprotected()


def updates(model: nn.Module, data: Splits, samples: int, n: int, defense: UpdateDefense = UNPROTECTED) -> list[Made]:
    """One gradient for each `samples` of the first `n` private samples."""
    made = []
    for k in range(n // samples):
        part = data.private.at(np.s_[k * samples : (k + 1) * samples])
        inputs, labels = torch.from_numpy(part.inputs), torch.from_numpy(part.labels)
        made.append(observed(model, inputs, labels, defense, np.random.default_rng(k)))
    return made


def psnr(attack: UpdateAttack, view: UpdateView, made: Sequence[Made]) -> np.ndarray:
    """The PSNR in dB of each sample, ``(n,)``, paired so that the squared error is least."""
    found = attack.invert(replace(view), [m.observation for m in made])
    values: list[float] = []
    for m, recovered in zip(made, found, strict=True):
        errors = (m.inputs[:, None] - recovered.inputs[None]).double().square().flatten(2).mean(2)
        pairs = linear_sum_assignment(errors.numpy())
        values += (-10 * errors[pairs].clamp(min=1e-30).log10()).tolist()
    return np.array(values)
