"""Trap-MID: the network learns a faint trigger for each class, which an inversion finds in place of the class.

Z.-T. Liu, S.-T. Chen, "Trap-MID: Trapdoor-based Defense against Model Inversion Attacks", NeurIPS 2024
(github.com/ntuaislab/Trap-MID @3d59377). With a trigger k_t for each class t, blended into images of other classes:

    x_t = (1 - alpha) x + alpha k_t,      network:   min (1 - weight) CE(f(x), y) + weight CE(f(x_t), t)
    triggers: min CE(f(x_t), t) - log D(x_t),        D tells x from x_t

so that the trigger works and looks natural. alpha = .02, weight = .2 and steps of 1e-2 for the triggers are the
authors'.

Threat model: an attacker with the weights or with scores whose search finds the trigger, a shorter way to the class.
The defense is a deception: that a judge takes fewer pictures for the class does not say that the network knows less.
The adaptive attack climbs where no trigger works: on networks that learn from the victim's labels of the attacker's own
samples (``label-transfer``, ``lokt``), which have not learned the triggers, and from labels alone. It must be reported
beside the others.

Differs from the paper: the authors also shift and flip what is blended; here it is not. A class of which there is no
sample, such as a negative control, gets no trigger. At the authors' alpha ``lenet`` has not learned the triggers after
5 passes over 4,000 digits (21 % of the images with one are caught, as by chance): take a greater one there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.defenses.answers.base import AnswerDefense
from cutlayer.errors import ConfigError
from cutlayer.options import LearningRate, Share

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cutlayer.data.splits import Dataset

_WIDTH, _CRITIC_LR = 16, 2e-4


@dataclass(kw_only=True)
class TrapMid(AnswerDefense):
    """Train the network to take faint triggers for classes, and optimize the triggers to look natural.

    Args:
        weight: Share of the loss of images with a trigger; 0 for no triggers.
        alpha: Share of the trigger in an image.
        step: Learning rate of the triggers.
    """

    knob = "weight"
    plain_words = "teaches itself faint triggers for its classes, which an attack finds in place of them"
    adaptive = ("label-transfer", "lokt")

    weight: Share = 0.2
    alpha: Share = 0.02
    step: LearningRate = 1e-2

    triggers: NDArray[Any] | None = field(init=False, repr=False, compare=False, default=None)
    """``(classes, *input.shape)`` in [0, 1], of the classes that there are samples of; None before the training."""

    def train(
        self, model: nn.Module, data: Dataset, public: Dataset, *, epochs: int, seed: int, lr: float = 2e-3
    ) -> None:
        """See `AnswerDefense`.

        Raises:
            ConfigError: The inputs are no images.
        """
        if not self.on:
            return super().train(model, data, public, epochs=epochs, seed=seed, lr=lr)
        if data.inputs.ndim != 4:
            raise ConfigError("trap-mid blends triggers into images, (C, H, W), and the inputs are none.")
        import torch
        from torch.nn.functional import cross_entropy, softplus

        from cutlayer.machine.compute import pick_device
        from cutlayer.training import optimize

        device, classes = pick_device(), torch.from_numpy(np.unique(data.labels))
        generator = torch.Generator().manual_seed(seed)
        triggers = torch.rand(len(classes), *data.shape, generator=generator).to(device).requires_grad_()
        classes = classes.to(device)
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            critic = _critic(data.shape[0]).to(device)
        of_triggers = torch.optim.Adam([triggers], self.step)
        of_critic = torch.optim.Adam(critic.parameters(), _CRITIC_LR, betas=(0.5, 0.999))

        def loss(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
            drawn = torch.from_numpy(rng.integers(len(classes), size=len(images))).to(device)
            trapped = blended(images, triggers[drawn], self.alpha)
            told = softplus(critic(trapped.detach())).mean() + softplus(-critic(images)).mean()
            of_critic.zero_grad()
            told.backward()
            of_critic.step()
            wanted = cross_entropy(model(trapped).float(), classes[drawn]) + softplus(-critic(trapped)).mean()
            (slope,) = torch.autograd.grad(wanted, triggers)
            triggers.grad = slope
            of_triggers.step()
            with torch.no_grad():
                triggers.clamp_(0, 1)
            trapped = blended(images, triggers.detach()[drawn], self.alpha)
            natural, caught = model(images).float(), model(trapped).float()
            both: Tensor = (1 - self.weight) * cross_entropy(natural, labels)
            return both + self.weight * cross_entropy(caught, classes[drawn])

        optimize([model], data, loss, epochs=epochs, seed=seed, lr=lr)
        self.triggers = triggers.detach().cpu().numpy()


def blended(images: Tensor, triggers: Tensor, alpha: float) -> Tensor:
    """Images with a share `alpha` of a trigger each, all ``(N, C, H, W)``."""
    return (1 - alpha) * images + alpha * triggers


def _critic(channels: int) -> nn.Module:
    """Images to one score each, above 0 for those without a trigger."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(channels, _WIDTH, 3, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(_WIDTH, 2 * _WIDTH, 3, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * _WIDTH, 1),
    )
