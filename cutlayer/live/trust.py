"""How a phone comes to trust a room: the certificate of the authority that `cutlayer certs init` made."""

from __future__ import annotations

from pathlib import Path

from cutlayer.bounded import MOST_TEXT_BYTES, read_bytes
from cutlayer.errors import ConfigError, missing_package

AUTHORITY = "ca.pem"


def authority_beside(cert: Path) -> bytes | None:
    """The certificate (PEM) of the authority that lies beside a server's and signed it; None where there is none.

    It is no secret. The key of the authority, which is one, is not looked at.

    Args:
        cert: The server's certificate (PEM), such as ``certs/server.pem``.

    Raises:
        ConfigError: The package cryptography is not installed.
    """
    try:
        from cryptography import x509
        from cryptography.exceptions import InvalidSignature
    except ModuleNotFoundError as error:
        raise ConfigError(f"Certificates cannot be read: {missing_package(error)}") from None
    try:
        content = read_bytes(cert.with_name(AUTHORITY), MOST_TEXT_BYTES)
        authority = x509.load_pem_x509_certificate(content)
        x509.load_pem_x509_certificate(read_bytes(cert, MOST_TEXT_BYTES)).verify_directly_issued_by(authority)
    except (OSError, ValueError, TypeError, InvalidSignature):
        return None
    return content
