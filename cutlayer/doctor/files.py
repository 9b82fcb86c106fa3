"""Checks of the split folder, the keys and the certificates: present, valid, and readable by their owner only."""

from __future__ import annotations

import datetime
import os
import ssl
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from cutlayer.bounded import MOST_TEXT_BYTES, check_regular, read_bytes
from cutlayer.defenses.base import deployed
from cutlayer.doctor.finding import WORTH_KNOWING_DAYS, Finding, fault, note, ok
from cutlayer.errors import ConfigError, CutlayerError
from cutlayer.models.manifest import tail_name
from cutlayer.split_folder import open_split
from cutlayer.wire.security import Security, exposed, without_passphrase
from cutlayer.wire.zmq.curve import read_key

COPY_AGAIN = "copy it again from the folder that `cutlayer certs init` wrote"


def check_split(folder: Path) -> Iterator[Finding]:
    """Check that a device can run this split: its files, its head, its defense."""
    try:
        split = open_split(folder)
        manifest, head = split.manifest, split.head()
        yield ok("split", f"{folder}: {tail_name(manifest)}, version {manifest.version}")
        image = np.zeros((1, *manifest.input.shape), np.float32)
        try:
            smashed = head(image)
        # The errors of ONNX Runtime have no common base class but Exception.
        except Exception as error:
            reason = str(error).splitlines()[0]
            yield fault("head", f"the head does not accept {manifest.input}: {reason}", "copy the whole folder again")
            return
        if smashed.shape[1:] != manifest.smashed.shape:
            yield fault(
                "head", f"the head gives {smashed.shape[1:]}, not {manifest.smashed}", "copy the whole folder again"
            )
            return
        defense = deployed(split)
        defense.protect(smashed, np.random.default_rng())
        yield ok("head", f"{manifest.input} to {manifest.smashed}, {manifest.smashed.nbytes:,} bytes; {defense!r}")
    except CutlayerError as error:
        yield fault("split", str(error), "copy split.json and head.onnx again from the server's split folder")


def check_security(security: Security, now: datetime.datetime | None = None) -> Iterator[Finding]:
    """Check the files for encryption and authentication, with certificates that are valid at a time in UTC, or now."""
    secret = (security.key, security.token_file, security.curve_key)
    public = (security.ca, security.cert, security.curve_server)
    for path in (*secret, *public):
        if path is not None:
            yield _readable(path, secret=path in secret)
    for key in (security.curve_key, security.curve_server):
        if key is not None:
            yield from _reads(partial(read_key, key), key)
    if security.token_file is not None:
        yield from _reads(security.token, security.token_file)
    for certificate in (security.ca, security.cert):
        if certificate is not None and certificate.exists():
            yield _dates(certificate, now or datetime.datetime.now(datetime.UTC))
    if security.cert and security.key and security.cert.exists() and security.key.exists():
        yield from _pair(security.cert, security.key)


def expiry(what: str, until: datetime.datetime, now: datetime.datetime, renew: str) -> Finding:
    """Check whether something has expired, or will soon."""
    days = (until - now).days
    if days < 0:
        return fault("certificate", f"{what} expired on {until:%Y-%m-%d}", renew)
    if days < WORTH_KNOWING_DAYS:
        return note("certificate", f"{what} expires on {until:%Y-%m-%d}, in {days} days", renew)
    return ok("certificate", f"{what} is valid until {until:%Y-%m-%d}")


def _readable(path: Path, *, secret: bool) -> Finding:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        return fault("file", f"{path}: {str(error.strerror).lower()}", COPY_AGAIN)
    if not os.access(path, os.R_OK):
        return fault("file", f"{path} cannot be read by this user", f"chown {os.getuid()} {path}, or run as its owner")
    if secret and (why := exposed(path)):
        return fault("file", why, f"chmod 600 {path}")
    return ok("file", f"{path}, mode {mode:o}")


def _reads(read: Callable[[], object], path: Path) -> Iterator[Finding]:
    try:
        read()
    except CutlayerError as error:
        yield fault("file", str(error), f"copy {path.name} again from the folder that `cutlayer certs init` wrote")


def _dates(path: Path, now: datetime.datetime) -> Finding:
    try:
        from cryptography import x509
    except ImportError:
        return note(
            "certificate", f"the dates of {path} were not read", "pip install 'cutlayer[certs]' to check the dates"
        )
    try:
        certificate = x509.load_pem_x509_certificate(read_bytes(path, MOST_TEXT_BYTES))
    except (OSError, ValueError):
        return fault("certificate", f"{path} holds no certificate", COPY_AGAIN)
    if now < certificate.not_valid_before_utc:
        return fault(
            "certificate",
            f"{path} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}",
            "set this device's clock, or wait until that day",
        )
    renew = "make new files with `cutlayer certs init`, and copy them to both sides"
    return expiry(str(path), certificate.not_valid_after_utc, now, renew)


def _pair(cert: Path, key: Path) -> Iterator[Finding]:
    try:
        for path in (cert, key):
            check_regular(path)  # OpenSSL would wait at a pipe
        without_passphrase(key)  # and for a passphrase
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key)
    except ConfigError as error:
        yield fault("certificate", error.args[0], "write a key without a passphrase")
    except (OSError, ssl.SSLError):
        yield fault("certificate", f"{key} is not the private key of {cert}", "copy both from the same folder")
