"""The files that `cutlayer.wire.security.Security` names: one small authority, and what each side needs.

ca.pem ca.key                       the authority; ca.key signs, and is needed nowhere else
server.pem server.key               TLS of the server
client.pem client.key               TLS of the device
token                               for both sides
curve-server.pub curve-server.key   ZeroMQ: the server's; devices need the .pub
curve-client.key, clients/client.pub    ZeroMQ: the device's; the server needs the folder clients
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

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

SECRET, PUBLIC = 0o600, 0o644
HERE = ("localhost", "127.0.0.1", "::1")
AUTHORITY_DAYS, DAYS = 3650, 825


def init(folder: Path, hosts: Sequence[str] = ()) -> list[Path]:
    """Write all of it. Secret files can be read by their owner alone.

    Args:
        folder: Made if it is not there.
        hosts: Names and addresses under which devices reach the server, beside those of this machine.

    Returns:
        The files written.

    Raises:
        ConfigError: One of the files is there already, or the package `cryptography` is not.
    """
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

    there = [folder / name for name in files if (folder / name).exists()]
    if there:
        raise ConfigError(f"{there[0]} is there already; nothing was written, for others may rely on it.")
    for name, (content, mode) in files.items():
        _write(folder / name, content, mode)
    return [folder / name for name in files]


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # The mode from the first moment on, whatever the umask allows.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)


def _certificate(
    name: str,
    key: EllipticCurvePrivateKey,
    signed_by: x509.Certificate | None,
    authority: EllipticCurvePrivateKey,
    hosts: Sequence[str],
) -> x509.Certificate:
    """A certificate; the authority's own where there is none to sign it."""
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
        # Clocks of devices may be behind.
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
        return x509.DNSName(host)
    except ValueError:
        raise ConfigError(f"{host!r} is neither an address nor the name of a machine.") from None


def _pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization as form

    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())


def _text(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)
