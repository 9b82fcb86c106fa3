"""Protocols as data: one row says how a round of training passes, and one driver runs every row."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from cutlayer.errors import ConfigError, near

CHOICES: Mapping[str, tuple[str, ...]] = {
    "head": ("own", "handed", "averaged"),
    "tail": ("one", "copies", "none"),
    "order": ("turns", "batches", "together", "parallel"),
    "labels": ("sent", "kept"),
    "feedback": ("gradient", "local-loss"),
    "sync": ("round", "step"),
}
"""The values of each field of a row."""


@dataclass(frozen=True)
class Protocol:
    """One protocol.

    Attributes:
        head: Whether each client keeps a head of its `own`, the head is `handed` on from client to client, or the heads
            begin a round as one and are `averaged` at its end.
        tail: Whether the server trains `one` tail for all clients or `copies`, one for each client, which are averaged
            at the end of a round; with `none` the cut is at the output, and the client holds the whole model.
        order: Whether a client trains its whole round before the next one begins (`turns`), the clients take turns
            batch by batch (`batches`), the server steps once on the batches of all clients (`together`), or each client
            trains with its own copies independently of the others (`parallel`).
        labels: Whether labels are `sent` to the server with the smashed data or `kept` by the client.
        feedback: Whether the head learns from the `gradient` that the server sends, or from the `local-loss` of an
            auxiliary classifier at the client.
        sync: Whether averaged heads are averaged each `round`, or their gradients are summed at each `step`.
        says: One line for a reader.
    """

    head: str
    tail: str
    order: str
    labels: str = "sent"
    feedback: str = "gradient"
    sync: str = "round"
    says: str = ""

    @property
    def u_shaped(self) -> bool:
        """Whether the server holds the middle of the model, and the client both of its ends and the labels."""
        return self.tail != "none" and self.labels == "kept"

    def overridden(self, changes: Mapping[str, Any]) -> "Protocol":
        """The row with other values in some of its fields.

        Raises:
            ConfigError: There is no such field or value, or the row cannot be.
        """
        for key, value in changes.items():
            if key not in CHOICES:
                raise ConfigError(f"Unknown protocol key {key!r:.80}; {near(key, ['name', *CHOICES])}")
            if value not in CHOICES[key]:
                raise ConfigError(f"protocol.{key} must be {' or '.join(CHOICES[key])}; {value!r:.80} was given.")
        row = replace(self, **changes)
        row.check()
        return row

    def check(self) -> None:
        """Refuse a combination of values that no training can follow.

        Raises:
            ConfigError: The row cannot be; the message says which two values exclude each other.
        """
        for left, right, sentence in _EXCLUSIONS:
            if all(getattr(self, key) in values for key, values in (*left.items(), *right.items())):
                raise ConfigError(f"The protocol cannot be: {sentence}")

    def differences(self, other: "Protocol") -> dict[str, str]:
        """The fields in which this row differs from another one."""
        names = [f.name for f in fields(self) if f.name in CHOICES]
        return {name: getattr(self, name) for name in names if getattr(self, name) != getattr(other, name)}


_Values = dict[str, tuple[str, ...]]
_NO_TAIL: _Values = {"tail": ("none",)}
_EXCLUSIONS: tuple[tuple[_Values, _Values, str], ...] = (
    (
        {"order": ("parallel",), "feedback": ("gradient",)},
        {"tail": ("one",)},
        "clients that train in parallel each need a copy of the tail, and there is one tail; set tail = 'copies', or "
        "let the clients take turns with order = 'turns'.",
    ),
    (
        {"order": ("together",)},
        {"tail": ("copies", "none")},
        "a step on the batches of all clients together needs one tail; set tail = 'one', or order = 'parallel'.",
    ),
    (
        {"head": ("handed",)},
        {"order": ("batches", "together", "parallel")},
        "a head that is handed on is at one client at a time; set order = 'turns', or head = 'averaged'.",
    ),
    (
        {"sync": ("step",)},
        {"order": ("turns", "batches", "parallel")},
        "the gradients of the heads are summed at each step only where all clients step together; set order = "
        "'together', or sync = 'round'.",
    ),
    (
        {"sync": ("step",)},
        {"head": ("own", "handed")},
        "only heads that are the same at all clients can sum their gradients; set head = 'averaged', or sync = "
        "'round'.",
    ),
    (
        {"labels": ("kept",)},
        {"order": ("together", "batches", "parallel"), "tail": ("one", "copies")},
        "where the labels stay with the clients (U-shaped), the clients take turns; set order = 'turns', or labels = "
        "'sent'.",
    ),
    (
        {"labels": ("kept",)},
        {"feedback": ("local-loss",), "tail": ("one", "copies")},
        "the server can train its tail apart from the clients only with their labels; set labels = 'sent', or "
        "feedback = 'gradient'.",
    ),
    (
        {"feedback": ("local-loss",)},
        {"order": ("turns", "batches", "together")},
        "heads that learn from a loss of their own wait for nobody; set order = 'parallel', or feedback = 'gradient'.",
    ),
    (
        _NO_TAIL,
        {"labels": ("sent",)},
        "without a tail at the server nothing is sent there but weights; set labels = 'kept'.",
    ),
    (
        _NO_TAIL,
        {"feedback": ("local-loss",)},
        "without a tail at the server the whole model is at the client, and has one loss; set feedback = 'gradient'.",
    ),
    (
        _NO_TAIL,
        {"order": ("turns", "batches", "together")},
        "without a tail at the server the clients have nothing to take turns at; set order = 'parallel'.",
    ),
)
"""Values that exclude each other, and the sentence that says so."""


PROTOCOLS: Mapping[str, Protocol] = {
    "vanilla": Protocol(
        "handed", "one", "turns", says="Split learning: one head, handed on from client to client, and one tail."
    ),
    "own-heads": Protocol("own", "one", "turns", says="Split learning without handing on: a head of its own each."),
    "u-shaped": Protocol(
        "handed", "one", "turns", labels="kept", says="Split learning in which neither labels nor logits are sent."
    ),
    "splitfed-v1": Protocol(
        "averaged", "copies", "parallel", says="A head and a copy of the tail for each client; both are averaged."
    ),
    "splitfed-v2": Protocol(
        "averaged", "one", "turns", says="Heads are averaged; one tail sees the clients in a drawn order."
    ),
    "splitfed-v3": Protocol("own", "copies", "parallel", says="A head of its own each; the tails are averaged."),
    "parallel": Protocol(
        "averaged", "one", "together", says="Parallel split learning: one step of one tail on the batches of all."
    ),
    "local-loss": Protocol(
        "averaged",
        "one",
        "parallel",
        feedback="local-loss",
        says="Heads learn from an auxiliary classifier of their own; no gradient is sent.",
    ),
    "fedavg": Protocol(
        "averaged", "none", "parallel", labels="kept", says="Baseline: whole models at the clients, averaged."
    ),
    "local": Protocol("own", "none", "parallel", labels="kept", says="Baseline: each client trains alone."),
    "centralised": Protocol(
        "own", "none", "parallel", labels="kept", says="Baseline: one client with the data of all."
    ),
}
"""The protocols by name."""


def protocol_named(name: str, changes: Mapping[str, Any] | None = None) -> Protocol:
    """The row of that name, with other values in some of its fields.

    Raises:
        ConfigError: There is no such protocol, or the row cannot be.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"There is no protocol named {name!r:.80}; {near(name, PROTOCOLS)}")
    return PROTOCOLS[name].overridden(changes or {})
