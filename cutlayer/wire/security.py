"""Files for encryption and authentication. Only their paths are kept; their contents are never printed or logged."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

from cutlayer.bounded import MOST_TEXT_BYTES, read_bytes, reason
from cutlayer.errors import ConfigError
from cutlayer.options import At
from cutlayer.wire.address import Address

File = Annotated[Path | None, At("file")]

MOST_TOKEN = 4096
"""Most characters of a token: the headers of a gRPC call have 16 KiB at most, and take ASCII only."""


@dataclass(frozen=True, slots=True)
class Security:
    """Security options of one side. `cutlayer certs init` writes the files; without any, plain text is sent.

    Attributes:
        ca: Certificate (PEM) of the authority that signed the other side's certificate, for TLS over gRPC. A server
            with it refuses clients that have no certificate.
        cert: Certificate (PEM) of this side, for TLS over gRPC.
        key: Private key (PEM) of this side, for TLS over gRPC.
        token_file: File with the token that clients show and the server asks for, over gRPC.
        curve_key: Secret key of this side, for CURVE over ZeroMQ.
        curve_server: Public key of the server, for CURVE over ZeroMQ.
        allow: Public keys of the clients that are admitted over ZeroMQ, as a file or a folder of .pub files; all
            clients are admitted if left out.
        insecure: Allow plain text between machines.
    """

    ca: File = None
    cert: File = None
    key: File = None
    token_file: File = None
    curve_key: File = None
    curve_server: File = None
    allow: Annotated[Path | None, At("file", "folder")] = None
    insecure: bool = False

    @classmethod
    def from_json(cls, options: Mapping[str, str | bool]) -> Security:
        """Undo `to_json`."""
        return cls(**{name: Path(value) if isinstance(value, str) else value for name, value in options.items()})  # type: ignore[arg-type]

    def to_json(self) -> dict[str, str | bool]:
        """Return the options that are set, paths as strings, for another process."""
        return {**{name: str(path) for name, path in self.files.items()}, "insecure": self.insecure}

    @property
    def files(self) -> dict[str, Path]:
        """The files that are given, by the name of their field."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: path for name, path in values.items() if isinstance(path, Path)}

    def refuse_plain_text(self, address: Address, encrypted_by: Sequence[str]) -> None:
        """Refuse an address that other machines can reach, unless a file encrypts it or plain text is allowed.

        Args:
            address: Address of the server.
            encrypted_by: Names of the files of which any encrypts the connection.

        Raises:
            ConfigError: Smashed data would cross the network in plain text.
        """
        if address.leaves_machine and not self.insecure and not self.files.keys() & set(encrypted_by):
            raise ConfigError(
                f"{address} is not a loopback address, so smashed data would cross the network in plain text. Encrypt "
                f"it with {' and '.join(map(option, encrypted_by))} (`cutlayer certs init` writes the files), or allow "
                "plain text with --insecure."
            )

    def token(self) -> str | None:
        """Return the token, if there is one.

        Raises:
            ConfigError: The file cannot be read, or holds no token.
        """
        if self.token_file is None:
            return None
        token = read(self.token_file).decode("ascii", "replace").strip()
        fits = 0 < len(token) <= MOST_TOKEN and token.isascii() and token.isprintable() and " " not in token
        if not fits:
            raise ConfigError(
                f"{self.token_file} holds no token; a token is one line of at most {MOST_TOKEN:,} ASCII letters, "
                "digits and signs, without spaces."
            )
        return token

    @property
    def secret_files(self) -> list[Path]:
        """The files that are given and that nobody else may read."""
        return [path for name, path in self.files.items() if name in ("key", "token_file", "curve_key")]


def exposed(path: Path) -> str | None:
    """Return a sentence if other users can read or write a secret file, which may be missing; otherwise None."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None
    return f"{path} is secret, but other users can read or write it (mode {mode:o})" if mode & 0o077 else None


def without_passphrase(path: Path) -> bytes:
    """Return the contents of a file with a private key.

    Raises:
        ConfigError: The file cannot be read, or the key in it has a passphrase, for which nobody would be asked.
    """
    content = read(path)
    if b"ENCRYPTED" in content:
        raise ConfigError(
            f"The private key in {path} has a passphrase, and there is nobody to type it in; write one without it: "
            f"`openssl pkey -in {path} -out NEW_FILE`, and `chmod 600 NEW_FILE`."
        )
    return content


def option(name: str) -> str:
    """Return the command-line option of a field of `Security`."""
    return "--" + name.replace("_", "-")


PLAIN = Security()
"""Plain text, on this machine only."""


def read(path: Path) -> bytes:
    """Return the contents of a file that the user named. Raises ConfigError if it cannot be read."""
    try:
        return read_bytes(path, MOST_TEXT_BYTES)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {reason(error)}.") from None
