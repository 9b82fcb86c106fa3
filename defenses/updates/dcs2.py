"""DCS2: the batch also holds concealed samples, which look unlike the client's own and have nearly their gradient.

J. Wu, M. Hayat, M. Zhou, M. Harandi, "Concealing Sensitive Samples against Gradient Leakage in Federated Learning",
AAAI 2024, https://arxiv.org/abs/2209.05724, code github.com/JingWu321/DCS-2 @92019da, whose settings for MNIST are the
defaults: the search of `concealed` begins at ``.7 * another image + .3 * x``, and a concealed sample has the label of
that image by 0.7 and that of x by 0.3. Where the gradient of the larger batch turns against that of the client's own
samples, ``<g', g> < 0``, the client sends ``g' + v g`` with the least ``v >= margin`` that ends this.

Threat model: a curious server rebuilds the samples of an update. The originals stay in the batch, as one half of it:
an attacker fits both halves, and closed forms read each unit of a linear first layer that one sample alone turns on.

Differs from the paper:
    - The other image is noise, one of the starts in the code, and its label one of the other classes, drawn: a client
      has no other image where its batch is a single sample.
    - Concealed and own samples count alike in the mean, as everywhere in cutlayer; the code weights them 1 to 2 parts
      of a sum that it divides by three, which changes the length of the gradient and not which samples are in it.
    - With one constraint the quadratic program has a closed form: ``v = max(margin, -<g', g> / |g|^2)``.
    - Concealed samples stay in [0, 1], as every input does; the code lets them leave the range of images.
    - Every sample counts as sensitive, and gets one concealed sample.
    - After local steps the projection compares the change of the weights with minus the gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from cutlayer.defenses.updates.base import Local, Twin, Update, UpdateDefense
from cutlayer.defenses.updates.concealed import concealed
from cutlayer.options import LearningRate, Share, Weight, Within

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True)
class Dcs2(UpdateDefense):
    """Add samples of nearly the same gradient that look different, and keep the update's direction.

    Args:
        steps: The most steps of the search for concealed samples; 0 adds none.
        lr: Its learning rate.
        other: Part of the other label in that of a concealed sample, and of noise in its start.
        far: Weight of the distance in pixels.
        near_outputs: Weight of the distance of the outputs.
        enough: Distance in pixels, over the deviation of MNIST's, at which the search stops.
        margin: The least part of the own gradient that is added where the direction is lost.
    """

    knob = "steps"
    plain_words = "trains on further samples as well, which look different and have nearly the same gradient"

    steps: Annotated[int, Within(0, 100_000)] = 1000
    lr: LearningRate = 0.1
    other: Share = 0.7
    far: Weight = 0.01
    near_outputs: Weight = 0.01
    enough: Weight = 150.0
    margin: Weight = 0.5

    @property
    def needs_loss(self) -> bool:
        """See the base."""
        return True

    def augment(self, inputs: Tensor, labels: Tensor, rng: np.random.Generator, local: Local) -> tuple[Tensor, Tensor]:
        """The samples, then a concealed one of each, with shares of the classes as labels; see the base."""
        if not self.on or not len(inputs):
            return inputs, labels
        start, others, classes = drawn(inputs, labels, rng, local)
        found = concealed(
            local.model, inputs, labels, self.other * start + (1 - self.other) * inputs, others, steps=self.steps,
            lr=self.lr, far=self.far, near_outputs=self.near_outputs, enough=self.enough,
        )  # fmt: skip
        own, new = (functional.one_hot(of, classes).float() for of in (labels, others))
        return torch.cat([inputs, found]), torch.cat([own, self.other * new + (1 - self.other) * own])

    def twin(self, sent: Mapping[str, Tensor], rng: np.random.Generator) -> Twin | None:
        """See the base; what may be added is a part of the client's own gradient, and is left out."""
        return dict if self.on else None

    def protect(
        self, update: Update, rng: np.random.Generator, state: dict[str, NDArray[np.float32]], local: Local | None
    ) -> Update:
        """The update, or the nearest one that does not turn against the client's own gradient."""
        local = self.needed(local)
        loss = functional.cross_entropy(local.model(local.inputs), local.labels)
        names = [name for name, p in local.model.named_parameters() if p.requires_grad]
        found = torch.autograd.grad(loss, [p for p in local.model.parameters() if p.requires_grad])
        sign = -1.0 if local.local_steps else 1.0
        # Layers that stay with the client, as batch normalization may, are not part of the update.
        own = {name: sign * g for name, g in zip(names, found, strict=True) if name in update}
        product = sum(float((torch.as_tensor(update[name]) * g).sum()) for name, g in own.items())
        if product >= 0:
            return update
        factor = max(self.margin, -product / sum(float(g.square().sum()) for g in own.values()))
        added = {name: factor * g for name, g in own.items()}
        if isinstance(next(iter(update.values())), np.ndarray):
            return {name: value + added[name].numpy() if name in added else value for name, value in update.items()}
        return {name: value + added[name] if name in added else value for name, value in update.items()}


def drawn(inputs: Tensor, labels: Tensor, rng: np.random.Generator, local: Local) -> tuple[Tensor, Tensor, int]:
    """Noise of the shape of the inputs, another class for each, and the number of classes."""
    with torch.no_grad():
        classes = local.model(inputs[:1]).shape[1]
    noise = torch.from_numpy(rng.random(inputs.shape, np.float32)).to(inputs.device)
    step = torch.from_numpy(rng.integers(1, max(classes, 2), len(labels))).to(labels.device)
    return noise, (labels + step) % classes, classes
