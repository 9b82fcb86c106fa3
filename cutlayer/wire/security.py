"""Which files prove who the two ends are. Their contents are read where they are used, and never printed or logged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cutlayer.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Security:
    """Paths only; `cutlayer certs init` writes the files. All left out: plain text.

    Attributes:
        ca: Certificate (PEM) of the authority that signed the other side's. At a server it makes clients show theirs.
        cert: This side's certificate (PEM), for TLS.
        key: Its private key (PEM).
        token_file: File that holds the token which clients show, and a server asks for, over gRPC.
        curve_key: This side's secret key, for CURVE over ZeroMQ.
        curve_server: The server's public key; for clients.
        allow: Public keys of the clients that a ZeroMQ server admits: a file, or a folder of *.pub. All, if left out.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    token_file: Path | None = None
    curve_key: Path | None = None
    curve_server: Path | None = None
    allow: Path | None = None

    @property
    def tls(self) -> bool:
        """Whether gRPC is encrypted."""
        return bool(self.ca or self.cert)

    @property
    def curve(self) -> bool:
        """Whether ZeroMQ is encrypted."""
        return bool(self.curve_key or self.curve_server)

    def check(self, scheme: str, *, listening: bool) -> None:
        """Refuse what cannot work, or would be less safe than it looks.

        Raises:
            ConfigError: The options do not fit each other, the transport or the side.
        """
        over_grpc = [name for name in ("ca", "cert", "key", "token_file") if getattr(self, name)]
        over_zmq = [name for name in ("curve_key", "curve_server", "allow") if getattr(self, name)]
        wrong = over_grpc if scheme == "zmq" else over_zmq if scheme != "inprocess" else []
        if wrong:
            raise ConfigError(f"{_option(wrong[0])} means nothing over {scheme}://.")
        if bool(self.cert) != bool(self.key):
            raise ConfigError("--cert and --key come together: a certificate and its private key.")
        if listening and self.ca and not self.cert:
            raise ConfigError("A server needs a certificate of its own too: give --cert and --key.")
        if listening and self.curve_server:
            raise ConfigError("--curve-server is for clients; a server has --curve-key.")
        if listening and self.allow and not self.curve_key:
            raise ConfigError("--allow needs --curve-key: without encryption nobody can prove a key.")
        if not listening and self.allow:
            raise ConfigError("--allow is for servers.")
        if not listening and self.cert and not self.ca:
            raise ConfigError("A client needs the authority that signed the server's certificate: give --ca.")
        if not listening and self.curve_key and not self.curve_server:
            raise ConfigError("A client needs the server's public key: give --curve-server.")

    def token(self) -> str | None:
        """The token, if there is one.

        Raises:
            ConfigError: The file cannot be read, or holds no token.
        """
        if self.token_file is None:
            return None
        token = read(self.token_file).decode("ascii", "replace").strip()
        if not token or not token.isprintable() or " " in token:
            raise ConfigError(f"{self.token_file} holds no token: one line of printable characters.")
        return token


def read(path: Path) -> bytes:
    """The contents of a file that the user named.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {str(error.strerror).lower()}.") from None


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
