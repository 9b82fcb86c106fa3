"""What the scheme of an address stands for: a transport, as its own class describes it.

A scheme names its client and its server, and imports them only in `connect` and `listen`. So addresses, security
options and `cutlayer list transports` work on a machine that has only one transport installed.
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, ClassVar

from cutlayer.errors import ConfigError

if TYPE_CHECKING:
    from cutlayer.wire.address import Address
    from cutlayer.wire.retry import Line
    from cutlayer.wire.security import Security
    from cutlayer.wire.transport import Handler, Server, Timeouts


class Scheme:
    """Base of the description of every transport. The first line of a subclass's docstring is its text in `list`.

    Attributes:
        client: Class of the client, as ``module:class``; see `Line`. It takes address, timeouts and security.
        server: Class of the server; see `Server`. It takes address, handler, timeouts and security. Empty if there is
            only a client.
        package: Name on PyPI of the package that it needs; empty if it needs none.
        networked: Whether an address is ``host:port`` reached over TCP; otherwise it is a name within this process.
        takes_model: Whether an address may end in ``/MODEL``.
        files: Names of the fields of `Security` that it uses.
        encrypted_by: Those of `files` of which any encrypts the connection.
    """

    client: ClassVar[str]
    server: ClassVar[str] = ""
    package: ClassVar[str] = ""
    networked: ClassVar[bool] = True
    takes_model: ClassVar[bool] = False
    files: ClassVar[tuple[str, ...]] = ()
    encrypted_by: ClassVar[tuple[str, ...]] = ()

    def connect(self, address: Address, timeouts: Timeouts, security: Security) -> Line:
        """Return the client's end, which connects with the first request. Raises ConfigError without the package."""
        return self._load(self.client, address)(address, timeouts, security)  # type: ignore[no-any-return]

    def listen(self, address: Address, handler: Handler, timeouts: Timeouts, security: Security) -> Server:
        """Return a server that listens. Raises ConfigError without the package, or if there is only a client."""
        if not self.server:
            raise ConfigError(f"{address.scheme}:// is for clients only; listen at grpc:// or zmq:// instead.")
        return self._load(self.server, address)(address, handler, timeouts, security)  # type: ignore[no-any-return]

    def encrypted(self, security: Security) -> bool:
        """Return whether these files encrypt the connection."""
        return any(getattr(security, name) for name in self.encrypted_by)

    def check_files(self, security: Security, *, listening: bool) -> None:
        """Raise ConfigError if the given files do not work together on this side."""

    def handshake_fault(self, address: Address, security: Security, timeout_s: float) -> str | None:
        """Return why a secured connection to the address fails, as a sentence; None if no reason is known."""
        return None

    def _load(self, name: str, address: Address) -> Any:
        try:
            return resolve_name(name)
        except ImportError as error:
            raise ConfigError(
                f"{address.scheme}:// needs the package {self.package}, which cannot be imported here ({error}); "
                "install it, or use another transport."
            ) from None
