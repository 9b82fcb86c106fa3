"""The threat model as an object with missing parts: what the attacker may touch."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from cutlayer.data.splits import Dataset
from cutlayer.defenses.base import Defense
from cutlayer.errors import ConfigError, WithheldError, near
from cutlayer.spec import TensorSpec


class Access(IntEnum):
    """What the attacker knows of the head (He, Zhang, Lee, ACSAC 2019, §3)."""

    QUERY_FREE = 0
    """Neither the head nor a way to query it; the tail and what arrives."""
    BLACK_BOX = 1
    """May push inputs of its own through the device's head and defense."""
    WHITE_BOX = 2
    """Holds the head's weights and the defense's code and settings (never its random draws)."""

    @property
    def label(self) -> str:
        """The name for a reader: ``white-box``."""
        return self.name.lower().replace("_", "-")

    @classmethod
    def named(cls, label: str) -> Access:
        """The access of this name.

        Raises:
            ConfigError: There is none.
        """
        known = {access.label: access for access in cls}
        if label not in known:
            raise ConfigError(f"There is no access named {label!r:.80}; {near(label, known)}")
        return known[label]


SMASHED, LENGTHS = "smashed data", "lengths"
"""What an attack can observe of a message: the smashed data, decoded, or the number of bytes that encode it."""


@dataclass(frozen=True)
class Vantage:
    """Where the attacker sits, and so what passes before its eyes, whatever it knows of the head.

    Attributes:
        name: The name in a plan.
        sees: What can be observed there, of `SMASHED` and `LENGTHS`.
        holds_tail: Whether the server's half is at hand there.
        least: The access that comes with the place.
    """

    name: str
    sees: tuple[str, ...] = (SMASHED, LENGTHS)
    holds_tail: bool = True
    least: Access = Access.QUERY_FREE


CLOUD = Vantage("cloud")
"""The server, which decodes what arrives."""
LINK = Vantage("link", holds_tail=False)
"""An eavesdropper on the network where nothing is encrypted, who decodes what passes."""
ENCRYPTED_LINK = Vantage("encrypted-link", (LENGTHS,), holds_tail=False)
"""An eavesdropper on the network where TLS or CURVE encrypts it: lengths and times of messages are not encrypted."""
CLIENT = Vantage("client", least=Access.BLACK_BOX)
"""The server and one of its clients together: the client's copy of the head answers queries, and may be opened."""
SERVERS = Vantage("servers")
"""Several servers together, each of which gets one release of every input."""

VANTAGES = {vantage.name: vantage for vantage in (CLOUD, LINK, ENCRYPTED_LINK, CLIENT, SERVERS)}


def vantage_named(name: str) -> Vantage:
    """The vantage of this name.

    Raises:
        ConfigError: There is none.
    """
    if name not in VANTAGES:
        raise ConfigError(f"There is no vantage named {name!r:.80}; {near(name, VANTAGES)}")
    return VANTAGES[name]


Query = Callable[[Tensor], Tensor]
"""``(N, C, H, W)`` in [0, 1] -> ``(N, *smashed.shape)``, as the server would receive it; fresh noise each time."""


T = TypeVar("T")


@dataclass(frozen=True)
class View:
    """What the attacker may touch, built in one place from the threat model.

    Attributes:
        input: Shape and range of one input.
        smashed: Shape and range of what arrives for one input.
        auxiliary: The attacker's own labelled images, disjoint from everything the victims hold.
        device: Where the attacker computes.
        seed: Seed of the attacker's own random choices.
        random: Whether two releases of one input differ, which any observer can tell.
        access: What the threat model grants; a split without halves in torch has less to give.
        vantage: Where the attacker sits.
    """

    input: TensorSpec
    smashed: TensorSpec
    auxiliary: Dataset
    device: torch.device
    seed: int
    random: bool
    access: Access
    vantage: Vantage = CLOUD
    _tail: nn.Module | None = None
    _query: Query | None = None
    _head: nn.Module | None = None
    _defense: Defense | None = None
    _kept: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def tail(self) -> nn.Module:
        """The server's half of the model, in eval mode. Withheld on the link, and where the split has none in torch."""
        if not self.vantage.holds_tail:
            raise WithheldError(
                f"This view withholds the tail from the attacker: it sits at the vantage {self.vantage.name}, and the "
                "server alone holds the tail."
            )
        return self._granted("tail", Access.QUERY_FREE, self._tail)

    @property
    def query(self) -> Query:
        """The oracle `wire(x)`. Withheld from a query-free attacker."""
        return self._granted("query", Access.BLACK_BOX, self._query)

    @property
    def head(self) -> nn.Module:
        """The device's half of the model, differentiable, in eval mode. White-box only."""
        return self._granted("head", Access.WHITE_BOX, self._head)

    @property
    def defense(self) -> Defense:
        """The device's defense, whose `protect` the attacker may run with draws of its own. White-box only."""
        return self._granted("defense", Access.WHITE_BOX, self._defense)

    def with_query(self, query: Query, smashed: TensorSpec | None = None) -> View:
        """The same view with an oracle derived from this one's, and the spec of what that oracle gives."""
        _ = self.query  # raises where queries are withheld
        return replace(self, _query=query, smashed=smashed or self.smashed, _kept={})

    def with_auxiliary(self, auxiliary: Dataset) -> View:
        """The same view of an attacker who holds other images."""
        return replace(self, auxiliary=auxiliary, _kept={})

    def aside(self) -> View:
        """The same view, which knows what was kept until now, and in which nothing more is kept for others."""
        return replace(self, _kept=dict(self._kept))

    def kept(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` returned for this key before, in this view; made now where it was not.

        Attacks that contain one another share what they fit this way: a decoder is trained once for all of them.
        """
        if key not in self._kept:
            self._kept[key] = make()
        return cast("T", self._kept[key])

    def _granted(self, name: str, needs: Access, value: T | None) -> T:
        if value is None and self.access < needs:
            raise WithheldError(
                f"This view withholds the {name} from the attacker: that needs {needs.label} access, and "
                f"{self.access.label} access is granted."
            )
        if value is None:
            raise WithheldError(
                f"This view withholds the {name} from the attacker, for the split has no halves in torch: it was cut "
                "from an ONNX file or from a module of another program, or its head computes in int8."
            )
        return value
