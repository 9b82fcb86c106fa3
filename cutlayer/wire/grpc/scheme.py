"""The two transports over gRPC, as addresses and security options need to know them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cutlayer.errors import ConfigError
from cutlayer.wire.scheme import Scheme

if TYPE_CHECKING:
    from cutlayer.wire.address import Address
    from cutlayer.wire.security import Security


class Grpc(Scheme):
    """The Open Inference Protocol over gRPC: HTTP/2, with TLS and a bearer token."""

    client = "cutlayer.wire.grpc.client:GrpcClient"
    server = "cutlayer.wire.grpc.server:GrpcServer"
    package = "grpcio"
    files = ("ca", "cert", "key", "token_file")
    encrypted_by = ("ca", "cert", "key")

    def check_files(self, security: Security, *, listening: bool) -> None:
        """See `Scheme.check_files`."""
        if bool(security.cert) != bool(security.key):
            raise ConfigError("--cert and --key belong together; give both the certificate and its private key.")
        if listening and security.ca and not security.cert:
            raise ConfigError("--ca alone does not encrypt a server; give the server's own --cert and --key too.")
        if not listening and security.cert and not security.ca:
            raise ConfigError("A client with --cert must verify the server's certificate; give --ca too.")

    def handshake_fault(self, address: Address, security: Security, timeout_s: float) -> str | None:
        """See `Scheme.handshake_fault`."""
        fault = self._load("cutlayer.wire.grpc.tls:handshake_fault", address)
        return fault(address, security, timeout_s)  # type: ignore[no-any-return]


class OpenInference(Grpc):
    """Client for any server of the Open Inference Protocol, such as Triton, that hosts an exported tail."""

    client = "cutlayer.wire.grpc.open_inference:OpenInferenceClient"
    server = ""
    takes_model = True
