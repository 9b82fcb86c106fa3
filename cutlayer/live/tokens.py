"""The two tokens of a room, kept so that devices come back after a new start, and the check of what a visitor shows."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from cutlayer.bounded import read_json
from cutlayer.machine.files import new_file

FILE = "tokens.json"
LEAST = 24
"""Letters of a token at least."""


def _random() -> str:
    return secrets.token_urlsafe(24)


@dataclass(frozen=True, repr=False)
class Tokens:
    """Random tokens; neither is ever logged.

    Attributes:
        join: With it, a device joins.
        screen: With it, a page watches the room and tells devices what to do.
    """

    join: str = field(default_factory=_random)
    screen: str = field(default_factory=_random)

    @classmethod
    def kept(cls, folder: Path) -> Self:
        """The tokens of the file in this folder, which only its owner can read; new ones where there is none.

        Raises:
            WriteError: The file cannot be written.
        """
        path = folder / FILE
        try:
            known = read_json(path)
            tokens = cls(known["join"], known["screen"])
            if all(isinstance(token, str) and len(token) >= LEAST for token in (tokens.join, tokens.screen)):
                return tokens
        except (OSError, ValueError, KeyError, TypeError):
            pass
        tokens = cls()
        with new_file(path, 0o600) as file:
            file.write(json.dumps(asdict(tokens)).encode())
        return tokens

    def is_join(self, shown: object) -> bool:
        """Whether this is the token of devices; compared in constant time."""
        return _same(self.join, shown)

    def is_screen(self, shown: object) -> bool:
        """Whether this is the token of pages; compared in constant time."""
        return _same(self.screen, shown)


def _same(token: str, shown: object) -> bool:
    return isinstance(shown, str) and secrets.compare_digest(token.encode(), shown.encode("utf-8", "replace"))
