"""The join code: one line that a device is told, and by which it finds, trusts and is let into a room.

https://192.0.2.7:8443/join#TOKEN.FINGERPRINT    over TLS, with the SHA-256 of the server's certificate in hex
http://127.0.0.1:8000/join#TOKEN                 in plain text

What stands behind ``#`` never leaves a browser, so that the token is in no log of a server or a proxy.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Literal, Self
from urllib.parse import urlsplit

from cutlayer.errors import ConfigError
from cutlayer.foreign import shown
from cutlayer.wire.address import host_and_port

PLACE = "/join"

_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_USUAL_PORTS = {"http": 80, "https": 443}
_ADVICE = "copy the whole line that `cutlayer live` prints behind `cutlayer edge --join`"


@dataclass(frozen=True, slots=True, repr=False)
class JoinCode:
    """What a join code says.

    Attributes:
        scheme: ``https``, or ``http`` for plain text.
        host: Name or IP address of the server.
        port: Its TCP port.
        token: What the server asks for, 16 to 128 letters, digits, hyphens and underscores.
        fingerprint: SHA-256 of the server's certificate (DER) in hex; empty over ``http``.
    """

    scheme: Literal["http", "https"]
    host: str
    port: int
    token: str
    fingerprint: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a join code.

        Raises:
            ConfigError: The text is none. The message does not show the token.
        """
        given, mark, secret = text.strip().partition("#")
        try:
            parts = urlsplit(given)
        except ValueError as error:
            raise _no_code(given, str(error)) from None
        if parts.scheme not in _USUAL_PORTS or not parts.netloc:
            raise _no_code(given, "it does not begin with https:// or http:// and the address of a server")
        if parts.path != PLACE or parts.query or not mark:
            raise _no_code(given, f"{PLACE}# and the token have to follow the address of the server")
        netloc = parts.netloc
        if not re.search(r":\d*$", netloc):
            netloc += f":{_USUAL_PORTS[parts.scheme]}"
        try:
            host, port = host_and_port(netloc)
        except ValueError as error:
            raise _no_code(given, str(error)) from None
        token, _, fingerprint = secret.partition(".")
        if not _TOKEN.fullmatch(token):
            raise _no_code(given, "its token is cut off or damaged")
        if not _FINGERPRINT.fullmatch(fingerprint) if parts.scheme == "https" else fingerprint:
            raise _no_code(given, "the fingerprint of the server's certificate is cut off, damaged or out of place")
        return cls("https" if parts.scheme == "https" else "http", host, port, token, fingerprint)

    @property
    def origin(self) -> str:
        """``https://host:port``, with brackets around an IPv6 host."""
        return origin(self.scheme, self.host, self.port)

    def __str__(self) -> str:
        return f"{self.origin}{PLACE}#{self.token}{self.fingerprint and '.'}{self.fingerprint}"

    def __repr__(self) -> str:
        return f"JoinCode({self.origin})"


def origin(scheme: str, host: str, port: int) -> str:
    """The beginning of every address of a web server: ``https://host:port``, with brackets around an IPv6 host."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a certificate in hex, as `ssl.SSLSocket.getpeercert` gives it in binary form (DER)."""
    return hashlib.sha256(certificate).hexdigest()


def _no_code(given: str, why: str) -> ConfigError:
    return ConfigError(f"The join code that begins with '{shown(given, 200)}' cannot be used: {why}; {_ADVICE}.")
