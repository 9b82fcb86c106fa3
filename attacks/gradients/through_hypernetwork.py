"""Through the hypernetwork: the gradient of the weights that a hypernetwork gives is a part of its own gradient.

The attack on HyperFL (see `cutlayer.defenses.updates.hyperfl`): ``theta = A e + b`` gives ``dL/db = dL/dtheta``. What
was to be hidden is read from the update, and another attack is run on it, for the model with the weights that the
hypernetwork gives. The client's classifier is unknown, so that this must be an attack that does without, as `ratio`.
Where a model has no hypernetwork, this is the other attack itself.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from cutlayer.attacks.gradients.base import Recovered, UpdateAttack, checked
from cutlayer.attacks.gradients.view import Observation, UpdateView
from cutlayer.defenses.updates.hyperfl import Generated
from cutlayer.errors import ConfigError
from cutlayer.registry import UPDATE_ATTACKS


@dataclass(kw_only=True)
class ThroughHypernetwork(UpdateAttack):
    """Run another attack on the gradient of the weights that a hypernetwork gives.

    Args:
        attack: Name of the other attack, which runs with its defaults.
    """

    plain_words = "reads the hidden gradient out of that of a hypernetwork, and runs another attack on it"

    attack: str = "ratio"

    def __post_init__(self) -> None:
        if UPDATE_ATTACKS.load(self.attack) is type(self):
            raise ConfigError("through-hypernetwork runs another attack; name one that is not itself.")

    def invert(self, view: UpdateView, observations: Sequence[Observation]) -> list[Recovered]:
        """See the base."""
        inner: UpdateAttack = UPDATE_ATTACKS.make(self.attack)
        return inner.invert(view, [opened(observation) for observation in observations])


def opened(observation: Observation) -> Observation:
    """What was observed, as if the model had been trained without a hypernetwork.

    Raises:
        DataError: The update is damaged.
    """
    model = checked(observation).model
    if not isinstance(model, Generated):
        return observation
    inside = copy.deepcopy(model.model)
    for name, value in model.weights().items():
        place, _, attribute = name.rpartition(".")
        module = inside.get_submodule(place)
        delattr(module, attribute)
        module.register_parameter(attribute, nn.Parameter(value.detach()))
    return replace(observation, update=model.gradient_of_weights(observation.update), _model=inside)
