"""ATS: each image passes a policy of three operations that was searched to make its gradient hard to invert.

W. Gao, S. Guo, T. Zhang, H. Qiu, Y. Wen, Y. Liu, "Privacy-Preserving Collaborative Learning with Automatic
Transformation Search", CVPR 2021, https://arxiv.org/abs/2011.12505, code github.com/gaow0007/ATSPrivacy @2496fc9. A
policy is three numbers of a list of 50 operations, which are those of AutoAugment for CIFAR-10; of several policies
each image draws one. The default is the published one of ResNet-20 on CIFAR-100: 3-1-7 and 43-18-18.

`search` ranks policies by how fast a gradient turns into that of the image T(x) while noise turns into T(x): the area
under ``cos(g(x_t), g(T(x)))`` for ``x_t = (1 - t) noise + t T(x)`` in 20 steps, small where an attacker gets no
direction far from the image. A policy whose `accuracy_score` on an untrained model is below -85 is left out.

Threat model: a curious server rebuilds the samples of an update. What it rebuilds is the transformed image, which still
shows what was on the picture; a study compares with that one. Closed forms need no direction, and read it as well as
any other image.

Differs from the paper:
    - Shears and turns interpolate linearly, and images have values in [0, 1] in place of whole numbers.
    - The list gives each operation a probability, which the authors' code does not use; neither does this one.
    - `part` says how many of the images pass a policy; in the paper all of them do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from cutlayer.defenses.updates.augmentation import check_images
from cutlayer.defenses.updates.base import Local, UpdateDefense
from cutlayer.errors import ConfigError
from cutlayer.options import Share

if TYPE_CHECKING:
    from torch import Tensor, nn

Policy = tuple[int, ...]
"""Positions in `OPERATIONS`, applied in their order."""

BINS = 20
LEAST_ACCURACY = -85.0
_RIDGE = 1e-5
_GRAY = 0.5


class Operation(NamedTuple):
    """One operation of the list, and its magnitude from 0 to 9."""

    name: str
    magnitude: int


_LIST = """
    invert 7, contrast 6, rotate 2, translate-x 9, sharpness 1, sharpness 3, shear-y 2, translate-y 2, autocontrast 5,
    equalize 2, shear-y 5, posterize 5, color 3, brightness 5, sharpness 9, brightness 9, equalize 5, equalize 1,
    contrast 7, sharpness 5, color 5, translate-x 5, equalize 7, autocontrast 8, translate-y 3, sharpness 6,
    brightness 6, color 8, solarize 0, invert 0, equalize 0, autocontrast 0, equalize 8, equalize 4, color 9,
    equalize 5, autocontrast 4, solarize 4, brightness 3, color 0, solarize 1, autocontrast 0, translate-y 3,
    translate-y 3, autocontrast 1, solarize 1, equalize 5, invert 0, translate-y 3, autocontrast 1
"""
OPERATIONS = tuple(Operation(name, int(size)) for name, size in (each.split() for each in _LIST.split(",")))
"""The list of the code, whose positions the published policies are made of."""


@dataclass(kw_only=True)
class Ats(UpdateDefense):
    """Change each image by a policy of operations that was searched for.

    Args:
        part: Share of the images that pass a policy.
        policies: The policies, as ``3-1-7+43-18-18``; each image draws one of them.
    """

    knob = "part"
    plain_words = "changes each image by operations that were searched to make its gradient hard to invert"

    part: Share = 1.0
    policies: str = "3-1-7+43-18-18"

    def __post_init__(self) -> None:
        parsed(self.policies)

    def augment(self, inputs: Tensor, labels: Tensor, rng: np.random.Generator, local: Local) -> tuple[Tensor, Tensor]:
        """See the base.

        Raises:
            ConfigError: The inputs are no images of one or three channels.
        """
        if not self.on or not len(inputs):
            return inputs, labels
        check_images(self, inputs)
        policies, changed = parsed(self.policies), []
        for image in inputs:
            policy = policies[rng.integers(len(policies))]
            changed.append(transformed(image, policy, rng) if rng.random() < self.part else image)
        return torch.stack(changed), labels


def parsed(text: str) -> tuple[Policy, ...]:
    """The policies of a text such as ``3-1-7+43-18-18``.

    Raises:
        ConfigError: It is of another form, or names an operation that is not in the list.
    """
    try:
        policies = tuple(tuple(int(number) for number in part.split("-")) for part in text.split("+"))
    except ValueError:
        policies = ()
    if not policies or not all(0 <= number < len(OPERATIONS) for policy in policies for number in policy):
        raise ConfigError(
            f"A policy is numbers from 0 to {len(OPERATIONS) - 1}, and policies are joined by +, such as "
            f"3-1-7+43-18-18; {text!r:.80} was given."
        )
    return policies


def transformed(image: Tensor, policy: Policy, rng: np.random.Generator) -> Tensor:
    """An image ``(C, H, W)`` in [0, 1] after the operations of a policy."""
    from cutlayer.nets._torchvision import transforms

    change: Any = transforms().functional
    for number in policy:
        name, magnitude = OPERATIONS[number]
        image = _APPLIED[name](change, image, magnitude / 9, float(rng.choice((-1.0, 1.0))))
    return image


def _moved(change: Any, image: Tensor, *, shift: tuple[float, float] = (0, 0), shear: float = 0) -> Tensor:
    height, width = image.shape[-2:]
    pixels = [round(shift[0] * width), round(shift[1] * height)]
    moved: Tensor = change.affine(
        image, angle=0.0, translate=pixels, scale=1.0, shear=[0.0, float(np.degrees(np.arctan(shear)))],
        interpolation=change.InterpolationMode.BILINEAR, center=[0.0, 0.0],
    )  # fmt: skip
    return moved


_APPLIED: Mapping[str, Callable[[Any, Tensor, float, float], Tensor]] = {
    # The functions of torchvision, the image, the magnitude from 0 to 1, and a random sign.
    "shear-y": lambda f, x, m, sign: _moved(f, x, shear=0.3 * m * sign),
    "translate-x": lambda f, x, m, sign: _moved(f, x, shift=(150 / 331 * m * sign, 0)),
    "translate-y": lambda f, x, m, sign: _moved(f, x, shift=(0, 150 / 331 * m * sign)),
    "rotate": lambda f, x, m, sign: f.rotate(x, 30 * m, f.InterpolationMode.BILINEAR, fill=[_GRAY] * len(x)),
    "color": lambda f, x, m, sign: f.adjust_saturation(x, 1 + 0.5 * m * sign),
    "contrast": lambda f, x, m, sign: f.adjust_contrast(x, 1 + 0.5 * m * sign),
    "sharpness": lambda f, x, m, sign: f.adjust_sharpness(x, 1 + 0.5 * m * sign),
    "brightness": lambda f, x, m, sign: f.adjust_brightness(x, 1 + 0.5 * m * sign),
    "posterize": lambda f, x, m, sign: f.posterize(x, round(8 - 4 * m)),
    "solarize": lambda f, x, m, sign: f.solarize(x, 1 - m),
    "autocontrast": lambda f, x, m, sign: f.autocontrast(x),
    "equalize": lambda f, x, m, sign: f.equalize(x),
    "invert": lambda f, x, m, sign: f.invert(x),
}


class Ranked(NamedTuple):
    """A policy and its two scores: `area` is small where inversion is hard, `accuracy` great where training works."""

    policy: Policy
    area: float
    accuracy: float


def search(
    trained: nn.Module,
    untrained: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    policies: Sequence[Policy],
    rng: np.random.Generator,
    least_accuracy: float = LEAST_ACCURACY,
) -> list[Ranked]:
    """Rank policies by `area`, the hardest to invert first, without those whose accuracy score is too small.

    Args:
        trained: A model that was trained for a while, on a part of the data in the paper.
        untrained: One of the same architecture with random weights.
        inputs: ``(N, C, H, W)``: images of the searching party, 100 in the paper.
        labels: ``(N,)`` int64.
        policies: The candidates; the paper draws 1,600 of three operations each.
        rng: Source of the signs of the operations, and of the noise.
        least_accuracy: The least accuracy score that is let through.
    """
    ranked = []
    for policy in policies:
        changed = torch.stack([transformed(image, policy, rng) for image in inputs])
        score = accuracy_score(untrained, changed)
        if score >= least_accuracy:
            ranked.append(Ranked(policy, area(trained, changed, labels, rng), score))
    return sorted(ranked, key=lambda each: each.area)


def area(model: nn.Module, inputs: Tensor, labels: Tensor, rng: np.random.Generator) -> float:
    """The mean area under ``cos(g(x_t), g(x))`` from noise to each image, the mean over layers; in [-1, 1]."""
    parameters = [p for p in model.parameters() if p.requires_grad]

    def gradient(x: Tensor, y: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(functional.cross_entropy(model(x), y), parameters))

    areas = []
    for image, label in zip(inputs[:, None], labels[:, None], strict=True):
        goal, noise = gradient(image, label), torch.from_numpy(rng.random(image.shape, np.float32)).to(image.device)
        cosines = []
        for step in range(BINS + 1):
            found = gradient(noise + step / BINS * (image - noise), label)
            each = [
                functional.cosine_similarity(a.flatten(), b.flatten(), dim=0) for a, b in zip(found, goal, strict=True)
            ]
            cosines.append(float(torch.stack(each).mean()))
        areas.append(float(np.trapezoid(cosines)) / BINS)
    return float(np.mean(areas))


def accuracy_score(model: nn.Module, inputs: Tensor) -> float:
    """How differently an untrained model responds to the images; more is better, the paper lets -85 through.

    The rows are the gradients of the summed logits with respect to each image; with v the eigenvalues of the matrix of
    their correlations, the score is ``-sum(log(v + k) + 1 / (v + k))``, k = 1e-5 (J. Mellor et al., ICML 2021).
    """
    x = inputs.detach().requires_grad_()
    (rows,) = torch.autograd.grad(model.eval()(x).sum(), x)
    values = np.linalg.eigvalsh(np.corrcoef(rows.flatten(1).double().cpu().numpy())) + _RIDGE
    return float(-np.sum(np.log(values) + 1 / values))
