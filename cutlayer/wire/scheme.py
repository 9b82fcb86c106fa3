"""The description of a transport. Addresses, security options and `cutlayer list` need no more, and no package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from cutlayer.errors import ConfigError

if TYPE_CHECKING:
    from cutlayer.wire.security import Security


class Rule(NamedTuple):
    """A file of `Security` that does not work alone, or not on this side.

    Attributes:
        listening: Whether the rule is for servers; False for clients, None for both.
        given: Name of the file.
        needs: Name of another file that must be given too; empty if this one must be left out.
        sentence: What is wrong and what to do.
    """

    listening: bool | None
    given: str
    needs: str
    sentence: str


@dataclass(frozen=True)
class Scheme:
    """The description of one transport.

    Attributes:
        explanation: One line for `cutlayer list`.
        client: Class of the client, as ``module:class``; see `Line`. It takes address, timeouts and security.
        server: Class of the server; see `Server`. It takes address, handler, timeouts, security and visitors. Empty if
            there is only a client.
        package: Name on PyPI of the package that it needs; empty if it needs none.
        networked: Whether an address is ``host:port`` reached over TCP; otherwise it is a name within this process.
        takes_model: Whether an address may end in ``/MODEL``.
        files: Names of the fields of `Security` that it uses.
        encrypted_by: Those of `files` of which any encrypts the connection.
        rules: What the files need.
    """

    explanation: str
    client: str
    server: str = ""
    package: str = ""
    networked: bool = True
    takes_model: bool = False
    files: tuple[str, ...] = ()
    encrypted_by: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()

    def encrypted(self, security: Security) -> bool:
        """Return whether these files encrypt the connection."""
        return any(name in security.files for name in self.encrypted_by)

    def check_files(self, security: Security, *, listening: bool) -> None:
        """Raise ConfigError if the given files do not work together on this side."""
        given = security.files
        for rule in self.rules:
            if rule.listening in (None, listening) and rule.given in given and rule.needs not in given:
                raise ConfigError(rule.sentence)
