"""The defense of the updates that clients send, as a plan names it, and the plans in which it has no place."""

from __future__ import annotations

from cutlayer.defenses.updates.base import UpdateDefense
from cutlayer.errors import ConfigError
from cutlayer.protocols.row import Protocol
from cutlayer.registry import UPDATE_DEFENSES
from cutlayer.tables import UNDEFENDED, Named


def update_defense(named: Named) -> UpdateDefense:
    """The defense with its options."""
    defense: UpdateDefense = UPDATE_DEFENSES.make(named.name, **named.options)
    return defense


def check_update_defense(named: Named, row: Protocol, protocol: str, optimizer_state: str, *, dp: bool) -> None:
    """Refuse a defense that has nothing to act on in a plan, or lacks what it needs.

    Args:
        named: The defense.
        row: The protocol of the plan.
        protocol: Its name.
        optimizer_state: Whether the plan keeps, resets or averages it.
        dp: Whether the plan has DP-SGD.

    Raises:
        ConfigError: The message says what the defense changes, why the plan has no such thing, and what to do.
    """
    if named == UNDEFENDED:
        return
    defense, name = update_defense(named), named.name
    if _overrides(defense, "share"):
        raise ConfigError(
            f"{name} mixes the updates of several clients, and update_defense is what each client does to its own; for "
            "a sum that the server cannot take apart, set secure_aggregation = true."
        )
    if row.tail != "none" and (_overrides(defense, "rebuilt") or defense.needs_loss):
        what = "changes the whole model" if _overrides(defense, "rebuilt") else "looks at the loss of the whole model"
        raise ConfigError(
            f"{name} {what}, of which a client of {protocol} holds the head alone; name another update_defense, "
            "or take fedavg."
        )
    if dp and _overrides(defense, "augment"):
        raise ConfigError(
            f"{name} makes samples of several ones, and dp counts on each sample being in one row of it; "
            "leave one of them out."
        )
    if not _overrides(defense, "protect"):
        return
    if row.head == "own":
        raise ConfigError(
            f"{name} changes the updates that are sent to the server, and the clients of {protocol} keep their "
            "heads; leave update_defense out, or take a protocol that averages heads."
        )
    if row.head == "handed":
        raise ConfigError(
            f"{name} changes the updates that are averaged, and {protocol} hands one head on, which the next "
            "client needs as it is; leave update_defense out, or take splitfed-v2."
        )
    if row.feedback == "local-loss":
        raise ConfigError(
            f"{name} changes the updates of heads, and {protocol} also averages the auxiliary classifiers, which "
            "update_defense does not know; leave it out, or take splitfed-v1."
        )
    if optimizer_state == "average":
        raise ConfigError(
            f"{name} changes the weights that are sent, and optimizer_state = 'average' also sends what the optimizers "
            "remember of the gradients; set 'keep' or 'reset'."
        )


def _overrides(defense: UpdateDefense, method: str) -> bool:
    return getattr(type(defense), method) is not getattr(UpdateDefense, method)
