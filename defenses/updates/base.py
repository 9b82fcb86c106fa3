"""Base of the defenses of updates: gradients and changes of weights that a client sends to their aggregator.

A defense may act at four places, and each method below is one of them: the architecture of the model, the samples that
the client trains on, the update that it sends, and how the updates of several clients are mixed before the server sees
them. A method that a defense does not override changes nothing.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cutlayer.spec import TensorSpec

Update = Mapping[str, Any]
"""A gradient, or weights after minus weights before: numpy arrays or torch tensors, float32, by name of parameter."""

Twin = Callable[[Mapping[str, "Tensor"]], dict[str, "Tensor"]]
"""The map of a defense as an attacker applies it to an update of its own making; it can be differentiated."""


class Local(NamedTuple):
    """What a client has beside its update, for defenses that look at it.

    Attributes:
        model: The model that the client began from; it stays as it is.
        inputs: ``(B, *input.shape)``: the samples of the update.
        labels: ``(B,)`` int64.
        round: Number of rounds that the model was trained for.
        local_steps: Number of steps between the weights whose difference is the update; 0 for a gradient.
    """

    model: nn.Module
    inputs: Tensor
    labels: Tensor
    round: int = 0
    local_steps: int = 0


@dataclass(kw_only=True)
class UpdateDefense(ABC):
    """Base of the defenses of updates; a subclass is a dataclass whose fields are its options."""

    knob: ClassVar[str]
    """Name of the option that says how strong the defense is; at 0 everything stays as it is, bit for bit.

    Empty for one that does nothing.
    """

    plain_words: ClassVar[str]
    """What the defense does, for a reader who does not know the field: a clause that begins with a verb."""

    @property
    def on(self) -> bool:
        """Whether the defense does anything."""
        return bool(self.knob and getattr(self, self.knob))

    @property
    def changes_updates(self) -> bool:
        """Whether the defense is on and acts on the update itself, not only on the model, the samples or the sum."""
        kind = type(self)
        base = UpdateDefense.protect, UpdateDefense.protect_update
        return self.on and (kind.protect, kind.protect_update) != base

    @property
    def mixes(self) -> bool:
        """Whether the clients of a round mix their updates before the server sees them; see `share`."""
        return type(self).share is not UpdateDefense.share

    @property
    def needs_loss(self) -> bool:
        """Whether the defense computes the loss of the client's samples, for which the client needs the whole model."""
        return False

    def needed(self, local: Local | None) -> Local:
        """What the client has beside its update, for a defense that looks at it.

        Raises:
            ConfigError: It is not at hand.
        """
        if local is None:
            raise ConfigError(f"{self!r} looks at the client's samples and model, and was given an update alone.")
        return local

    def rebuilt(self, model: nn.Module, input: TensorSpec, classes: int) -> nn.Module:
        """The model that clients and server train in place of `model`, which may be changed and used for it."""
        return model

    def augment(self, inputs: Tensor, labels: Tensor, rng: np.random.Generator, local: Local) -> tuple[Tensor, Tensor]:
        """The samples that the client computes its update from, in place of its own.

        Args:
            inputs: ``(B, *input.shape)``.
            labels: ``(B,)`` int64.
            rng: Source of every random draw.
            local: What the client has beside.

        Returns:
            ``(M, *input.shape)``, and ``(M,)`` int64 or ``(M, classes)`` shares of each class.
        """
        return inputs, labels

    def augment_twin(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The samples that `augment` makes of an attacker's guess of the client's own ones; it can be differentiated.

        As it is, for a defense whose changed samples are themselves what an attacker looks for.

        Args:
            inputs: ``(B, *input.shape)``.
            labels: ``(B,)`` int64, or ``(B, classes)`` shares of each class.
        """
        return inputs, labels

    def protect_update(
        self,
        update: Update,
        rng: np.random.Generator,
        state: dict[str, NDArray[np.float32]],
        local: Local | None = None,
    ) -> Update:
        """What the client sends in place of its update.

        Args:
            update: The update; it is not changed in place, and the same kind of arrays comes back.
            rng: Source of every random draw.
            state: What the client keeps from one update to the next, such as residuals; empty at first, changed in
                place, and part of the client's checkpoint.
            local: What the client has beside; None where it is not at hand.

        Raises:
            ConfigError: The defense needs `local`, and it is None.
        """
        return self.protect(update, rng, state, local) if self.on and update else update

    def protect(
        self, update: Update, rng: np.random.Generator, state: dict[str, NDArray[np.float32]], local: Local | None
    ) -> Update:
        """The same as `protect_update`, for a defense that is on; a subclass that changes updates overrides this."""
        return update

    def twin(self, sent: Mapping[str, Tensor], rng: np.random.Generator) -> Twin | None:
        """The map as an adaptive attacker applies it, with what an observed update tells of its hidden choices.

        For a map without chance it equals `protect_update` on the update that became `sent`. What is random is either
        read from `sent`, as a mask is from its zeros, left out, or drawn anew.

        Args:
            sent: An update as it was observed.
            rng: Source of random draws of the attacker's own.

        Returns:
            The map; None if the defense does not act on the update, or has no map that can be differentiated.
        """
        return None

    def share(self, updates: Mapping[int, Update], rng: np.random.Generator) -> dict[int, Update]:
        """What the server sees from each client, by number, in place of the clients' updates; their sum stays.

        A client's update is weighted before it gets here. An attacker on one client sees its entry; one on all of them
        together sees `summed`.

        Raises:
            ConfigError: The updates cannot be shared so; the message says why.
        """
        return dict(updates)

    def summed(self, shared: Mapping[int, Update]) -> dict[str, Any]:
        """What the server makes of all that `share` returns: the sum of the clients' updates, float32 by name."""
        first = next(iter(shared.values()), {})
        return {name: sum(update[name] for update in shared.values()) for name in first}
