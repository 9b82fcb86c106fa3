"""Creation of the files in `cutlayer.wire.security.Security`: a small authority, and the files of each side.

ca.pem ca.key                           the authority; ca.key signs certificates, and neither side needs it
server.pem server.key                   the server's certificate for TLS
client.pem client.key                   the device's certificate for TLS
token                                   the token for both sides
curve-server.pub curve-server.key       the server's key pair for ZeroMQ; devices need the .pub file
curve-client.key, clients/client.pub    the device's key pair for ZeroMQ; the server needs the folder clients
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from cutlayer.errors import ConfigError
from cutlayer.machine.files import check_writable, new_file
from cutlayer.machine.lock import only_one
from cutlayer.wire.address import certified, check_host

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

SECRET, PUBLIC = 0o600, 0o644
HERE = ("localhost", "127.0.0.1", "::1")
AUTHORITY_DAYS, DAYS = 3650, 824
"""Validity from now on, and a day before. Apple's devices take no server's certificate that is valid for longer."""


def init(folder: Path, hosts: Sequence[str] = ()) -> list[Path]:
    """Write all files. Only their owner can read the secret ones.

    Args:
        folder: Folder for the files, created if it is missing.
        hosts: Names and addresses under which devices reach the server, besides those of this machine.

    Returns:
        The files that were written.

    Raises:
        ConfigError: One of the files already exists, or the package `cryptography` is missing.
        WriteError: The folder cannot be written; none of the files is left.
        BusyError: Another process writes files there.
    """
    check_writable(folder, "folder")
    try:
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise ConfigError("Certificates need the package cryptography; install cutlayer[certs].") from None

    authority = ec.generate_private_key(ec.SECP256R1())
    signed_by = _certificate("cutlayer authority", authority, None, authority, ())
    files = {"ca.key": (_pem(authority), SECRET), "ca.pem": (_text(signed_by), PUBLIC)}
    for name, alternatives in (("server", (*HERE, *hosts)), ("client", ())):
        key = ec.generate_private_key(ec.SECP256R1())
        files[f"{name}.key"] = _pem(key), SECRET
        files[f"{name}.pem"] = _text(_certificate(f"cutlayer {name}", key, signed_by, authority, alternatives)), PUBLIC
    for name, public_name in (("curve-server", "curve-server.pub"), ("curve-client", "clients/client.pub")):
        public, secret = zmq.curve_keypair()
        files[f"{name}.key"], files[public_name] = (secret + b"\n", SECRET), (public + b"\n", PUBLIC)
    files["token"] = secrets.token_urlsafe(32).encode() + b"\n", SECRET

    paths = [folder / name for name in files]
    with only_one(folder, inside=True):
        if existing := [path for path in paths if os.path.lexists(path)]:
            raise ConfigError(
                f"{existing[0]} exists already and may be in use; nothing was written. Name another folder."
            )
        try:
            for path, (content, mode) in zip(paths, files.values(), strict=True):
                _write(path, content, mode)
        except BaseException:
            # A key without its certificate would keep the next start from writing both.
            for path in paths:
                path.unlink(missing_ok=True)
            raise
    return paths


def _write(path: Path, content: bytes, mode: int) -> None:
    # Opened with its mode, so that the file is never readable by others, whatever the umask is.
    with new_file(path, mode) as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)


def _certificate(
    name: str,
    key: EllipticCurvePrivateKey,
    signed_by: x509.Certificate | None,
    authority: EllipticCurvePrivateKey,
    hosts: Sequence[str],
) -> x509.Certificate:
    """Return a certificate, signed by the authority; without `signed_by` it is the authority's own."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    days = DAYS if signed_by else AUTHORITY_DAYS
    unused = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only")
    usage = dict.fromkeys((*unused, "decipher_only"), False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signed_by.subject if signed_by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # The clocks of devices may be slow.
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=signed_by is None, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=bool(signed_by), key_cert_sign=not signed_by, crl_sign=not signed_by, **usage
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
    )
    if signed_by:
        purpose = x509.OID_SERVER_AUTH if hosts else x509.OID_CLIENT_AUTH
        # Without it, Apple's devices do not take a server's certificate.
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    if hosts:
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(authority, hashes.SHA256())


def _general_name(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        check_host(host.removeprefix("*."))
        return x509.DNSName(certified(host))
    except ValueError:
        raise ConfigError(f"{host!r} is neither an IP address nor a host name.") from None


def _pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization as form

    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())


def _text(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)
