"""Metrics and health of the server over HTTP: one page and two probes."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cutlayer.cloud.service import Service
from cutlayer.errors import ConfigError, WireError
from cutlayer.foreign import shown
from cutlayer.wire.address import Address, host_and_port
from cutlayer.wire.reach import Endpoint, bind_all

REQUEST_S = 5.0
"""Seconds in which a request must be complete."""


class MetricsServer:
    """Answers ``/metrics``, ``/v2/health/live`` and ``/v2/health/ready`` until it is closed.

    Args:
        listen: ``HOST:PORT``; port 0 takes a free one.
        service: The service whose metrics are shown.
        insecure: Allow an address that other machines can reach, although the metrics are plain text.

    Raises:
        ConfigError: The address is not valid, or other machines can reach it without `insecure`.
        WireError: It cannot listen there; the error says why.
    """

    def __init__(self, listen: str, service: Service, *, insecure: bool = False) -> None:
        try:
            address = Address("http", *host_and_port(listen))
        except ValueError as error:
            raise ConfigError(f"'{shown(listen)}' is not HOST:PORT: {error}; write 127.0.0.1:9100.") from None
        if address.leaves_machine and not insecure:
            raise ConfigError(
                f"{address} would show plain text to other machines; listen at 127.0.0.1, or allow it with --insecure."
            )
        handler, self._opened = _handler(service), ExitStack()
        try:
            port = bind_all(address, lambda endpoint: self._serve(endpoint, handler))
        except WireError:
            self._opened.close()
            raise
        self.address = Address("http", address.host, port)

    def close(self) -> None:
        """Stop listening."""
        self._opened.close()

    def _serve(self, endpoint: Endpoint, handler: type[BaseHTTPRequestHandler]) -> int:
        server = _Server(endpoint, handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="metrics", daemon=True)
        thread.start()
        for step in (server.server_close, thread.join, server.shutdown):
            self._opened.callback(step)
        return int(server.server_address[1])


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Do not wait for a scraper that hangs.
    block_on_close = False

    def __init__(self, endpoint: Endpoint, handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = endpoint.family
        super().__init__((endpoint.host, endpoint.port), handler)


def _handler(service: Service) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_S

        def do_GET(self) -> None:
            if self.path == "/metrics":
                status, text = HTTPStatus.OK, service.metrics.text()
            elif self.path == "/v2/health/live" or (self.path == "/v2/health/ready" and service.ready):
                status, text = HTTPStatus.OK, f"{self.path.rpartition('/')[2]}\n"
            elif self.path == "/v2/health/ready":
                status, text = HTTPStatus.SERVICE_UNAVAILABLE, "draining\n"
            else:
                status, text = HTTPStatus.NOT_FOUND, "The paths are /metrics, /v2/health/live and /v2/health/ready.\n"
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing."""

    return Handler
