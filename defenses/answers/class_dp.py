"""Class-level differential privacy: the gradient of each class is clipped, and noise is added to their sum.

After Q. Zhang, J. Ma, Y. Xiao, J. Lou, L. Xiong, "Broadening Differential Privacy for Deep Learning Against Model
Inversion Attacks", IEEE Big Data 2020 (known from surveys), and M. Abadi et al., "Deep Learning with Differential
Privacy", CCS 2016. Two training sets are neighbors if one of them lacks a whole class: that is what an attacker of
class-level inversion would tell. Every class is taken to take part in every step, so that nothing is gained by
sampling. With ``unit = "record"`` the neighbors differ in one
sample, as in Abadi et al.: the baseline, of which the literature says that it does not stop this attack.

Accountant: `cutlayer.defenses.shared.accountant`. Its figure for records takes each batch for a random sample
(Poisson), where batches are a shuffled order here, as nearly everywhere.

Threat model: an attacker with the weights or with scores. No attack is adapted to it: the bound holds against all. A
sum over 5 classes cannot hide one of them: at a noise of 0.1 the network ``lenet`` that learned from 4,000 digits is
right about no more than chance (18 %), and epsilon for a class after 5 passes is 4,400, which bounds nothing. The
figure is told so that nobody believes in the word.

Differs from the papers: AdamW takes the steps, whose weight decay does not look at the samples. Networks with batch
normalization are refused, for their statistics pass by the clipping.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cutlayer.defenses.answers.base import AnswerDefense
from cutlayer.defenses.shared import accountant
from cutlayer.defenses.shared.draws import normal
from cutlayer.errors import ConfigError
from cutlayer.options import Batch, Weight

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cutlayer.data.splits import Dataset

UNITS = ("class", "record")


@dataclass(kw_only=True)
class ClassDP(AnswerDefense):
    """Clip the gradient of each class, or of each sample, and add noise to their sum.

    Args:
        noise: Deviation of the noise over `bound`; 0 for neither clipping nor noise.
        bound: Greatest Euclidean length of the gradient of a unit, to which it is shortened.
        unit: ``class`` or ``record``: what can be told apart no better than epsilon says.
        batch: Samples in a step; more make the steps fewer.
    """

    knob = "noise"
    plain_words = "adds noise to each step of the training, so that the weights tell little of any one class"

    noise: Weight = 0.5
    bound: Weight = 1.0
    unit: str = "class"
    batch: Batch = 256

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ConfigError(f"class-dp.unit must be one of {', '.join(UNITS)}, not {self.unit!r:.80}.")

    def train(
        self, model: nn.Module, data: Dataset, public: Dataset, *, epochs: int, seed: int, lr: float = 2e-3
    ) -> None:
        """See `AnswerDefense`.

        Raises:
            ConfigError: The network has batch normalization.
        """
        if not self.on:
            return super().train(model, data, public, epochs=epochs, seed=seed, lr=lr)
        import torch
        from torch.nn.modules.batchnorm import _BatchNorm

        from cutlayer.training import optimize

        if any(isinstance(layer, _BatchNorm) for layer in model.modules()):
            raise ConfigError(
                "class-dp clips the gradient of each unit, and batch normalization mixes the samples of a batch: take "
                "a model without it."
            )
        parameters = dict(model.named_parameters())

        def loss(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
            units = _of_classes if self.unit == "class" else _of_records
            each = units(model, parameters, images, labels)
            lengths = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in each]).norm(dim=0)
            shares = (self.bound / lengths.clamp(min=1e-12)).clamp(max=1)
            total = [torch.tensordot(shares, gradient, 1) for gradient in each]
            noisy = [part + self.noise * self.bound * normal(part, rng) for part in total]
            # A sum whose gradient is the noisy one. AdamW looks at no scale, so that it is divided by nothing.
            terms = [(p * g).sum() for p, g in zip(parameters.values(), noisy, strict=True)]
            return torch.stack(terms).sum()

        optimize([model], data, loss, epochs=epochs, seed=seed, lr=lr, batch=self.batch)

    def epsilon(self, n: int, epochs: int, delta: float) -> float:
        """The epsilon of the weights, for a class or a record.

        Args:
            n: Number of training samples.
            epochs: Passes over them.
            delta: Probability with which epsilon does not hold.
        """
        steps = -(-n // self.batch)
        share = 1.0 if self.unit == "class" else min(1.0, self.batch / n)
        return accountant.epsilon(self.noise, share, steps * epochs, delta)


def _of_classes(model: nn.Module, parameters: dict[str, nn.Parameter], images: Tensor, labels: Tensor) -> list[Tensor]:
    """The gradient of the mean loss of each class in the batch, for each parameter, ``(classes, *parameter.shape)``."""
    import torch

    from cutlayer.training import loss_of

    parts = [
        torch.autograd.grad(loss_of(model, images[labels == unit], labels[labels == unit]), [*parameters.values()])
        for unit in labels.unique()
    ]
    return [torch.stack(each) for each in zip(*parts, strict=True)]


def _of_records(model: nn.Module, parameters: dict[str, nn.Parameter], images: Tensor, labels: Tensor) -> list[Tensor]:
    """The gradient of each sample's loss, for each parameter ``(N, *parameter.shape)``."""
    from torch.func import functional_call, grad, vmap
    from torch.nn.functional import cross_entropy

    def loss(given: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        logits: Tensor = functional_call(model, given, (image[None],))
        return cross_entropy(logits.float(), label[None])

    given = {name: parameter.detach() for name, parameter in parameters.items()}
    gradients = vmap(grad(loss), (None, 0, 0), randomness="different")(given, images, labels)
    return [gradients[name] for name in parameters]
