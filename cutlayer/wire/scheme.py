"""What the scheme of an address stands for: a transport, as its own class describes it.

A scheme imports the packages that carry its bytes only in `connect` and `listen`, so that addresses, security options
and `cutlayer list transports` work on a machine that has only one transport installed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from cutlayer.errors import ConfigError

if TYPE_CHECKING:
    from cutlayer.wire.address import Address
    from cutlayer.wire.retry import Line
    from cutlayer.wire.security import Security
    from cutlayer.wire.transport import Handler, Server, Timeouts


class Scheme:
    """Base of the description of every transport. The first line of a subclass's docstring is its text in `list`.

    Attributes:
        package: Name on PyPI of the package that it needs; empty if it needs none.
        networked: Whether an address is ``host:port`` reached over TCP; otherwise it is a name within this process.
        takes_model: Whether an address may end in ``/MODEL``.
        serves: Whether a server can listen; otherwise there is only a client.
        files: Names of the fields of `Security` that it uses.
        encrypt_with: Options that encrypt it, for error messages.
    """

    package: ClassVar[str] = ""
    networked: ClassVar[bool] = True
    takes_model: ClassVar[bool] = False
    serves: ClassVar[bool] = True
    files: ClassVar[tuple[str, ...]] = ()
    encrypt_with: ClassVar[str] = ""

    def connect(self, address: Address, timeouts: Timeouts, security: Security) -> Line:
        """Return the client's end; it connects with the first request."""
        raise NotImplementedError(f"{type(self).__name__} lacks connect()")

    def listen(self, address: Address, handler: Handler, timeouts: Timeouts, security: Security) -> Server:
        """Return a server that listens at the address."""
        raise NotImplementedError(f"{type(self).__name__} lacks listen()")

    def encrypted(self, security: Security) -> bool:
        """Return whether these files encrypt the connection."""
        return False

    def check_files(self, security: Security, *, listening: bool) -> None:
        """Raise ConfigError if the given files do not work together on this side."""

    def handshake_fault(self, address: Address, security: Security, timeout_s: float) -> str | None:
        """Return why a secured connection to the address fails, as a sentence; None if no reason is known."""
        return None

    @contextlib.contextmanager
    def importing(self, name: str) -> Iterator[None]:
        """Turn an ImportError inside the context into a ConfigError that names the package to install."""
        try:
            yield
        except ImportError as error:
            raise ConfigError(
                f"{name}:// needs the package {self.package}, which cannot be imported here ({error}); install it, or "
                "use another transport."
            ) from None
