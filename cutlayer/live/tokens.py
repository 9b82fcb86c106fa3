"""The two tokens of a room, and the check of what a visitor shows."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field


def _random() -> str:
    return secrets.token_urlsafe(24)


@dataclass(frozen=True, repr=False)
class Tokens:
    """Random tokens, new for each start of a server; neither is ever logged.

    Attributes:
        join: With it, a device joins.
        screen: With it, a page watches the room and tells devices what to do.
    """

    join: str = field(default_factory=_random)
    screen: str = field(default_factory=_random)

    def is_join(self, shown: object) -> bool:
        """Whether this is the token of devices; compared in constant time."""
        return _same(self.join, shown)

    def is_screen(self, shown: object) -> bool:
        """Whether this is the token of pages; compared in constant time."""
        return _same(self.screen, shown)


def _same(token: str, shown: object) -> bool:
    return isinstance(shown, str) and secrets.compare_digest(token.encode(), shown.encode("utf-8", "replace"))
