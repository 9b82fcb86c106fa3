"""What a device asks of a room over HTTP: the standard library alone, and a server that is known by its fingerprint."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from typing import Any, NoReturn

from cutlayer.errors import ConfigError, DeadlineExceeded, DecodeError, Unreachable
from cutlayer.foreign import shown
from cutlayer.wire.join_code import JoinCode, fingerprint

MOST_ANSWER_BYTES = 1 << 20
MOST_FILE_BYTES = 256 << 20
TIMEOUT_S = 10.0
WHOLE_S = 120.0
"""Seconds in which an answer must be complete."""


class Gone(Unreachable):
    """The server does not know this device; it has been started again, or has dropped it."""


class RoomClient:
    """One connection to the web server of a room, opened again when it is lost. For one thread at a time.

    Args:
        code: The join code.
        timeout_s: Longest wait for the server, in seconds.
    """

    def __init__(self, code: JoinCode, timeout_s: float = TIMEOUT_S) -> None:
        self._code, self._timeout_s = code, timeout_s
        self._connection: http.client.HTTPConnection | None = None

    def ask(
        self, method: str, path: str, value: object = None, *, body: bytes | None = None, frame: int | None = None,
        most_bytes: int = MOST_ANSWER_BYTES, timeout_s: float | None = None,
    ) -> bytes:  # fmt: skip
        """Make one request and return the body of the answer; empty where there is none.

        Args:
            method: GET, POST or DELETE.
            path: Path at the server.
            value: What is sent as JSON.
            body: What is sent as it is.
            frame: Number of the frame to which the body belongs.
            most_bytes: Longest answer that is read.
            timeout_s: Longest wait for the server in place of the usual one.

        Raises:
            ConfigError: The server is another one, or does not take the token, or the device.
            Gone: The server does not know this device.
            Unreachable: No server answers.
        """
        headers = {"Authorization": f"Bearer {self._code.token}"}
        if value is not None:
            body, headers["Content-Type"] = json.dumps(value).encode(), "application/json"
        if frame is not None:
            headers["X-Frame"] = str(frame)
        try:
            connection = self._connected()
            if connection.sock is not None:
                connection.sock.settimeout(timeout_s or self._timeout_s)
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = self._read(answer, most_bytes + 1)
        except ssl.SSLError as error:
            self._lost(f"TLS failed: {error.reason or error}")
        except TimeoutError:
            self.close()
            raise DeadlineExceeded(f"{self._code.origin} has not answered in time.") from None
        except (OSError, http.client.HTTPException) as error:
            self._lost(str(error) or type(error).__name__)
        if len(content) > most_bytes:
            self.close()
            raise DecodeError(f"The answer of {self._code.origin} has more than {most_bytes:,} bytes.")
        if answer.status >= 400:
            self._refused(answer.status, path, content)
        return content

    def json(self, method: str, path: str, value: object = None, **how: Any) -> dict[str, Any]:
        """Ask as `ask` does, for a JSON object, empty where there is none. Raises DecodeError for another answer."""
        content = self.ask(method, path, value, **how)
        try:
            read = json.loads(content) if content else {}
        except (ValueError, RecursionError):
            read = None
        if not isinstance(read, dict):
            raise DecodeError(f"{self._code.origin} answers what no room answers; check the join code.")
        return read

    def _read(self, answer: http.client.HTTPResponse, most_bytes: int) -> bytes:
        """The body of an answer, which has to come as a whole within a time."""
        parts, size, end = [], 0, time.monotonic() + WHOLE_S
        while size < most_bytes and (part := answer.read1(min(1 << 16, most_bytes - size))):
            parts.append(part)
            size += len(part)
            if time.monotonic() > end:
                raise TimeoutError
        if size < most_bytes:
            answer.read()  # with it, the connection is free for the next request
        return b"".join(parts)

    def close(self) -> None:
        """Close the connection; the next request opens another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is not None and self._connection.sock is not None:
            return self._connection
        code = self._code
        if code.scheme == "http":
            self._connection = http.client.HTTPConnection(code.host, code.port, timeout=self._timeout_s)
            self._connection.connect()
            return self._connection
        # The code names the very certificate, so that no authority is asked.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        secured = http.client.HTTPSConnection(code.host, code.port, timeout=self._timeout_s, context=context)
        secured.connect()
        certificate = secured.sock.getpeercert(binary_form=True)
        if certificate is None or fingerprint(certificate) != code.fingerprint:
            secured.close()
            raise ConfigError(
                f"The server at {code.origin} is not the one of this join code: its certificate has another "
                "fingerprint. Copy the join code again from the server that you mean to join."
            )
        self._connection = secured
        return secured

    def _lost(self, why: str) -> NoReturn:
        self.close()
        raise Unreachable(
            f"No room answers at {self._code.origin}: {shown(why)}", "check that `cutlayer live` runs there"
        )

    def _refused(self, status: int, path: str, content: bytes) -> NoReturn:
        try:
            said = shown(json.loads(content)["error"], 300)
        except (ValueError, KeyError, TypeError, RecursionError):
            said = f"{self._code.origin} answers with status {status}; check the join code."
        if status == 404 and path.startswith("/device/"):
            raise Gone(said)
        if status >= 500:
            raise Unreachable(said)
        raise ConfigError(said)
