"""Who makes a call over gRPC."""

from __future__ import annotations

import hashlib
import ssl
from urllib.parse import unquote

import grpc

from cutlayer.wire.peer import Peer, at

_CERTIFICATE = "x509_pem_cert"


def peer_of(context: grpc.ServicerContext) -> Peer:
    """Return the peer of a call; its identity is the SHA-256 of its certificate, if it had to show one."""
    connection = context.peer()
    # gRPC lists a certificate only after it has checked it against --ca.
    shown = context.auth_context().get(_CERTIFICATE)
    identity = "" if not shown else _fingerprint(shown[0])
    # gRPC writes ``ipv4:1.2.3.4:5`` or ``ipv6:%5B::1%5D:5``.
    host, _, port = unquote(connection).partition(":")[2].rpartition(":")
    return at(connection, host.strip("[]"), port, identity)


def _fingerprint(certificate: bytes) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.decode())).hexdigest()
