"""TLS and tokens for gRPC, and the reason of a failed TLS handshake, which gRPC does not report."""

from __future__ import annotations

import hmac
import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import grpc

from cutlayer.errors import ConfigError, Unreachable
from cutlayer.wire.address import Address
from cutlayer.wire.grpc.scheme import GRPC
from cutlayer.wire.kept import Kept
from cutlayer.wire.reach import Endpoint, bind_all, dial, refusal_to_listen
from cutlayer.wire.security import Security, read, without_passphrase

AUTHORIZATION = "authorization"

log = logging.getLogger("cutlayer.wire")


def credentials(security: Security) -> grpc.ChannelCredentials | None:
    """Return what encrypts a client's connection; None for plain text.

    Raises:
        ConfigError: A file cannot be used.
    """
    if not GRPC.encrypted(security):
        return None
    key, cert, ca = (read(path) if path else None for path in (security.key, security.cert, security.ca))
    _check(security)
    return grpc.ssl_channel_credentials(ca, key, cert)


def channel(
    address: Address,
    endpoints: Sequence[Endpoint],
    encryption: grpc.ChannelCredentials | None,
    options: list[tuple[str, Any]],
) -> grpc.Channel:
    """Return a channel to any of these addresses, of which it tries all; a certificate must still show the name."""
    # IPv4 as IPv6 writes it, since one target has addresses of one family.
    hosts = (end.host if ":" in end.host else f"::ffff:{end.host}" for end in endpoints)
    target = "ipv6:" + ",".join(f"[{host.replace('%', '%25')}]:{address.port}" for host in hosts)
    authority = replace(address, host=address.server_name).netloc
    options = [*options, ("grpc.default_authority", authority)]
    if encryption is None:
        return grpc.insecure_channel(target, options=options)
    return grpc.secure_channel(
        target, encryption, options=[*options, ("grpc.ssl_target_name_override", address.server_name)]
    )


class Admission:
    """The files of a server that say who it is and whom it admits, read again while it runs.

    Args:
        security: The files.

    Raises:
        ConfigError: One of them is not valid.
    """

    def __init__(self, security: Security) -> None:
        self._token = Kept(security.token)
        self._files = Kept(partial(_files, security)) if security.cert and security.key else None
        self._replaced: grpc.ServerCertificateConfiguration | None = None
        self._security = security
        self._say_expired()

    @property
    def token(self) -> str | None:
        """The token that each call must show, if any."""
        return self._token.value

    def credentials(self, begun: Callable[[], None]) -> grpc.ServerCredentials | None:
        """Return the credentials of a server that calls `begun` before each handshake; None for plain text."""
        if self._files is None:
            return None

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            begun()
            # None stands for the files that gRPC has.
            replaced, self._replaced = self._replaced, None
            return replaced

        ca = self._files.value[2]
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._files.value), fetch, require_client_authentication=ca is not None
        )

    def changed(self) -> tuple[str, str] | None:
        """Read the files again now and then; if others are admitted from now on, return the reason and a sentence."""
        if self._files is not None:
            ca = self._files.value[2]
            if self._files.look():
                self._replaced = _configuration(self._files.value)
                self._say_expired()
                if ca != self._files.value[2]:
                    return "tls", "the certificates of --ca have changed, so each client must show its own again."
        if self._token.look():
            return "token", "the token has changed."
        return None

    def _say_expired(self) -> None:
        if self._files is not None and (fault := _fault(self._security, serves=True)):
            log.warning(
                "No client will trust %s: %s; write new files with `cutlayer certs init`.", self._security.cert, fault
            )


def _files(security: Security) -> tuple[bytes, bytes, bytes | None]:
    """Return key, certificate and authority of a server. Raises ConfigError."""
    assert security.key
    assert security.cert
    _check(security)
    return read(security.key), read(security.cert), read(security.ca) if security.ca else None


def _configuration(files: tuple[bytes, bytes, bytes | None]) -> grpc.ServerCertificateConfiguration:
    key, cert, ca = files
    return grpc.ssl_server_certificate_configuration([(key, cert)], ca)


def add_ports(server: grpc.Server, address: Address, encryption: grpc.ServerCredentials | None) -> int:
    """Make a server listen at all addresses of its host; return its port.

    Raises:
        WireError: It cannot listen at one of them; the error says why.
    """

    def bind(endpoint: Endpoint) -> int:
        netloc = endpoint.netloc
        try:
            if encryption is not None:
                port = int(server.add_secure_port(netloc, encryption))
            else:
                port = int(server.add_insecure_port(netloc))
        except RuntimeError:
            port = 0
        if not port:
            raise OSError(refusal_to_listen(endpoint), "")
        return port

    return bind_all(address, bind)


def token_metadata(token: str | None) -> list[tuple[str, str]] | None:
    """Return the metadata of a call that shows a token."""
    return [(AUTHORIZATION, f"Bearer {token}")] if token else None


def admits(token: str | None, metadata: object) -> bool:
    """Return whether a call's metadata shows the token, compared in constant time."""
    if token is None:
        return True
    shown = [value for key, value in metadata or () if key == AUTHORIZATION]  # type: ignore[attr-defined]
    return len(shown) == 1 and hmac.compare_digest(str(shown[0]).encode(), f"Bearer {token}".encode())


def handshake_fault(address: Address, security: Security, timeout_s: float) -> str | None:
    """Repeat the handshake without gRPC; return a sentence on what is wrong, or None if no fault shows."""
    tls = context(security)
    try:
        with (
            dial(address, timeout_s) as plain,
            tls.wrap_socket(plain, server_hostname=address.server_name) as encrypted,
        ):
            if not GRPC.encrypted(security):
                return _speaks_tls(address)
            # A gRPC server sends first, unless it rejected our certificate, for which it gives no reason.
            return None if encrypted.recv(1) else _refused(address, security)
    except ssl.SSLCertVerificationError as error:
        return f"The certificate of {address} cannot be trusted: {error.verify_message.rstrip('.')}."
    except ssl.SSLError as error:
        return _reason(address, security, error.reason or "")
    except (OSError, Unreachable):
        return None


def _reason(address: Address, security: Security, reason: str) -> str | None:
    if "ALERT" in reason:
        return _refused(address, security) if GRPC.encrypted(security) else _speaks_tls(address)
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE") and GRPC.encrypted(security):
        return f"{address} does not speak TLS; leave out --ca, or start the server with --cert and --key."
    return None


def _speaks_tls(address: Address) -> str:
    return f"{address} speaks TLS; give --ca, and also --cert and --key if it asks for a certificate."


def _refused(address: Address, security: Security) -> str:
    if not security.cert:
        return f"{address} asks for a certificate; give --cert and --key."
    fault = _fault(security, serves=False) or "its --ca is not the authority that signed it"
    return f"{address} does not accept this side's certificate: {fault}."


def _fault(security: Security, serves: bool) -> str | None:
    """Return what is wrong with this side's certificate, apart from its authority, by a handshake in memory.

    The other side checks it for the purpose that it has here: that of a server where it `serves`, else of a client.
    """
    client, server = (ssl.SSLContext(protocol) for protocol in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER))
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    checks = client if serves else server
    checks.verify_mode = ssl.CERT_REQUIRED
    checks.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    checks.load_verify_locations(security.cert)
    for side in (client, server):
        side.load_cert_chain(str(security.cert), security.key)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)
    for end in ends * 2:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as error:
            return error.verify_message
    return None


def context(security: Security) -> ssl.SSLContext:
    """Return the TLS context of a client."""
    if not GRPC.encrypted(security):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    else:
        tls = ssl.create_default_context(cafile=security.ca)
    if security.cert:
        tls.load_cert_chain(security.cert, security.key)
    tls.set_alpn_protocols(["h2"])
    return tls


def _check(security: Security) -> None:
    """Raise ConfigError for files that gRPC cannot use: it reports nothing and refuses all connections."""
    if security.key:
        without_passphrase(security.key)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        if security.ca:
            tls.load_verify_locations(security.ca)
    except ssl.SSLError:
        raise ConfigError(f"{security.ca} holds no certificate.") from None
    try:
        if security.cert:
            tls.load_cert_chain(security.cert, security.key)
    except ssl.SSLError:
        raise ConfigError(f"{security.cert} and {security.key} are not a certificate and its private key.") from None
