"""An update as the gradient that most attacks need, whatever it was made of.

J. Xu, C. Hong, J. Huang, L. Y. Chen, J. Decouchant, "AGIC: Approximate Gradient Inversion Attack on Federated
Learning", SRDS 2022, §III: a change of weights by several steps of SGD is taken for one step on all samples of the
steps. The error grows with the number of steps and the learning rate.
"""

from __future__ import annotations

import functools
import logging

import torch
from torch import Tensor

from cutlayer.attacks.gradients.base import checked
from cutlayer.attacks.gradients.view import Observation
from cutlayer.errors import ConfigError
from cutlayer.spec import TensorSpec

log = logging.getLogger("cutlayer.attacks")


def hides_scale(observation: Observation) -> bool:
    """Whether the update tells the gradient's signs alone, as steps of Adam do, whose length does not depend on it."""
    return observation.local_steps > 0 and observation.optimizer != "sgd"


def as_gradient(observation: Observation) -> dict[str, Tensor]:
    """The gradient of the mean cross-entropy over the samples of an update, or what the update tells of it.

    A gradient comes back as it is, and a change of weights by SGD divided by minus the sum of the learning rates. Of a
    change by Adam the signs come back, -1, 0 and 1, and a line in the log says so; see `hides_scale`.

    Raises:
        ConfigError: The update is a change of weights, and its learning rate is not above 0.
        DataError: The update is damaged; see `checked`.
    """
    update = checked(observation).update
    if not observation.local_steps:
        return dict(update)
    if hides_scale(observation):
        _say_that_signs_are_used(observation.optimizer)
        return {name: -value.sign() for name, value in update.items()}
    if not observation.lr > 0:
        raise ConfigError(
            "A change of weights becomes a gradient by its learning rate, which must be above 0; the observation "
            f"states lr={observation.lr!r:.40}."
        )
    return {name: value / -(observation.lr * observation.local_steps) for name, value in update.items()}


def scaled_gradient(observation: Observation, attack: str) -> dict[str, Tensor]:
    """The same as `as_gradient`, for an attack that computes with the size of the gradient.

    Args:
        observation: An update.
        attack: What needs the size, as the subject of the message.

    Raises:
        ConfigError: The update hides the size.
    """
    if hides_scale(observation):
        raise ConfigError(
            f"{attack} needs the size of the gradient, and steps of {observation.optimizer} hide it: their length does "
            "not depend on it. Take an attack that matches signs or directions, such as gradient-ridge, or an update "
            "by SGD."
        )
    return as_gradient(observation)


def in_range(inputs: Tensor, spec: TensorSpec) -> Tensor:
    """Inputs of any number of leading axes, float32, clamped to the range of the specification where it has one."""
    return inputs.float().clamp(
        -torch.inf if spec.low is None else spec.low, torch.inf if spec.high is None else spec.high
    )


@functools.cache
def _say_that_signs_are_used(optimizer: str) -> None:
    log.warning(
        "An update is from steps of %s, whose length does not depend on the size of the gradient. The attack takes "
        "the signs of the update for the gradient.",
        optimizer,
    )
