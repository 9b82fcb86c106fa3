"""TLS and tokens for gRPC, and the reason when a handshake fails, which gRPC itself keeps to itself."""

from __future__ import annotations

import hmac
import socket
import ssl

import grpc

from cutlayer.errors import ConfigError
from cutlayer.wire.address import Address
from cutlayer.wire.security import Security, read

AUTHORIZATION = "authorization"


def channel(address: Address, security: Security, options: list[tuple[str, int]]) -> grpc.Channel:
    """A client's channel, encrypted where the security says so."""
    if not security.tls:
        return grpc.insecure_channel(address.netloc, options=options)
    key, cert, ca = (read(path) if path else None for path in (security.key, security.cert, security.ca))
    _check(security)
    return grpc.secure_channel(address.netloc, grpc.ssl_channel_credentials(ca, key, cert), options=options)


def add_port(server: grpc.Server, address: Address, security: Security) -> int:
    """Have a server listen; its port, or 0.

    Raises:
        ConfigError: gRPC can make nothing of the certificate and the key.
    """
    if not (security.cert and security.key):
        return int(server.add_insecure_port(address.netloc))
    key, cert = read(security.key), read(security.cert)
    _check(security)
    ca = read(security.ca) if security.ca else None
    credentials = grpc.ssl_server_credentials([(key, cert)], ca, require_client_auth=ca is not None)
    return int(server.add_secure_port(address.netloc, credentials))


def shown(token: str | None) -> list[tuple[str, str]] | None:
    """The metadata of a call that shows a token."""
    return [(AUTHORIZATION, f"Bearer {token}")] if token else None


def admits(token: str | None, metadata: object) -> bool:
    """Whether a call's metadata shows the token; compared in a time that tells nothing about it."""
    if token is None:
        return True
    given = [value for key, value in metadata or () if key == AUTHORIZATION]  # type: ignore[attr-defined]
    return len(given) == 1 and hmac.compare_digest(str(given[0]).encode(), f"Bearer {token}".encode())


def why_not(address: Address, security: Security, timeout_s: float) -> str | None:
    """Shake hands once more without gRPC; a sentence on what is wrong, or None where nothing is known to be."""
    context = _context(security)
    try:
        with (
            socket.create_connection((address.host, address.port), timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=address.host) as encrypted,
        ):
            if not security.tls:
                return f"{address} speaks TLS; give --ca, and --cert and --key where it asks for a certificate."
            # A server of gRPC begins to talk, unless it did not like our certificate; it does not say why.
            return None if encrypted.recv(1) else _refused(address, security)
    except ssl.SSLCertVerificationError as error:
        return f"The certificate of {address} is not to be trusted: {error.verify_message.rstrip('.')}."
    except ssl.SSLError as error:
        return _reason(address, security, error.reason or "")
    except OSError:
        return None


def _reason(address: Address, security: Security, reason: str) -> str | None:
    if "ALERT" in reason:
        if not security.tls:
            return f"{address} speaks TLS; give --ca, and --cert and --key where it asks for a certificate."
        return _refused(address, security)
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE") and security.tls:
        return f"{address} speaks no TLS; leave out --ca, or start the server with --cert and --key."
    return None


def _refused(address: Address, security: Security) -> str:
    if not security.cert:
        return f"{address} asks for a certificate; give --cert and --key."
    fault = _fault(security) or "its --ca is not the authority that signed it"
    return f"{address} does not accept this side's certificate: {fault}."


def _fault(security: Security) -> str | None:
    """What is wrong with this side's certificate, whoever signed it; found by showing it to oneself."""
    here, there = (ssl.SSLContext(protocol) for protocol in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER))
    here.check_hostname, here.verify_mode = False, ssl.CERT_NONE
    there.verify_mode = ssl.CERT_REQUIRED
    there.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    there.load_verify_locations(security.cert)
    for context in (here, there):
        context.load_cert_chain(str(security.cert), security.key)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = here.wrap_bio(down, up), there.wrap_bio(up, down, server_side=True)
    for end in ends * 2:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as error:
            return error.verify_message
    return None


def _context(security: Security) -> ssl.SSLContext:
    if not security.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    else:
        context = ssl.create_default_context(cafile=security.ca)
    if security.cert:
        context.load_cert_chain(security.cert, security.key)
    context.set_alpn_protocols(["h2"])
    return context


def _check(security: Security) -> None:
    """GRPC says nothing to Python about files of which it can make nothing, and refuses everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        if security.ca:
            context.load_verify_locations(security.ca)
    except ssl.SSLError:
        raise ConfigError(f"{security.ca} holds no certificate.") from None
    try:
        if security.cert:
            context.load_cert_chain(security.cert, security.key)
    except ssl.SSLError:
        raise ConfigError(f"{security.cert} and {security.key} are no certificate and its private key.") from None
