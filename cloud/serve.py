"""The server's process: one split folder, one address, until it is told to stop."""

from __future__ import annotations

import contextlib
import signal
import threading
from pathlib import Path

from cloud.batcher import Limits
from cloud.metrics_http import MetricsServer
from cloud.service import Service
from cloud.tap import Tap
from cutlayer.machine.compute import tune_allocator
from cutlayer.models.manifest import tail_name
from cutlayer.split_folder import Runtime, open_split
from cutlayer.wire.connect import listen as listen_at
from cutlayer.wire.security import PLAIN, Security
from cutlayer.wire.transport import Timeouts

GRACE_S = 5.0


def serve(
    folder: Path,
    listen: str,
    *,
    tail: Runtime = "onnx",
    tap: Path | None = None,
    durable: bool = False,
    threads: int | None = None,
    limits: Limits | None = None,
    metrics: str | None = None,
    grace_s: float = GRACE_S,
    timeouts: Timeouts | None = None,
    security: Security = PLAIN,
) -> None:
    """Answer requests until SIGTERM or SIGINT, then finish those that have arrived and return.

    Once it answers, it prints one line: ``ready ADDRESS MODEL@CUT version=...``, and ``metrics=URL`` where there are.

    Args:
        folder: A split folder; its `split.json` and the files of the tail are checked.
        listen: Address; port 0 takes a free one, and the ready line names it.
        tail: Runtime of the tail.
        tap: Folder for a copy of everything that arrives; none when left out.
        durable: Write to the tap before answering; see `Tap`.
        threads: That compute one request; all cores when None.
        limits: What is taken on at a time.
        metrics: ``HOST:PORT`` for metrics and health over HTTP; see `MetricsServer`.
        grace_s: To answer what has arrived when told to stop. Meanwhile new requests are refused.
        timeouts: Of the transport; `heartbeat_s` and `idle_s` are a server's.
        security: Files for encryption and authentication; plain text if left out.

    Raises:
        SplitError: The folder is damaged.
        WireError: The address is taken.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    tune_allocator()
    split = open_split(folder)
    manifest = split.manifest
    with contextlib.ExitStack() as opened:
        tapped = None if tap is None else opened.enter_context(contextlib.closing(Tap(tap, durable=durable)))
        service = Service(manifest, split.tail(tail, threads), tapped, limits=limits)
        # Closed in the opposite order: drained first, and watched until the end.
        watched = None
        if metrics is not None:
            watched = opened.enter_context(
                contextlib.closing(MetricsServer(metrics, service, insecure=security.insecure))
            )
        server = opened.enter_context(contextlib.closing(listen_at(listen, service, timeouts, security=security)))
        opened.callback(service.drain, grace_s)
        words = ["ready", str(server.address), tail_name(manifest), f"version={manifest.version}"]
        if watched is not None:
            words.append(f"metrics={watched.address}/metrics")
        print(*words, flush=True)
        stop.wait()
