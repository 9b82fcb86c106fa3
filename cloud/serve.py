"""The server's process: it serves one split folder at one address until it is told to stop."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

from cutlayer.cloud.admission import Limits
from cutlayer.cloud.answers import answers_of
from cutlayer.cloud.metrics_http import MetricsServer
from cutlayer.cloud.query_log import query_log
from cutlayer.cloud.service import Service
from cutlayer.cloud.tap import Tap
from cutlayer.machine.compute import tune_allocator
from cutlayer.models.manifest import tail_name
from cutlayer.split_folder import Runtime, open_split
from cutlayer.stopping import StopSignal
from cutlayer.tables import UNDEFENDED, Named
from cutlayer.terminal import tell, tell_lines
from cutlayer.wire.connect import listen as listen_at
from cutlayer.wire.security import PLAIN, Security
from cutlayer.wire.transport import Timeouts
from cutlayer.wire.visitors import Visitors

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
    answers: Named = UNDEFENDED,
    learned: Path | None = None,
    usual: Path | None = None,
    most_of_class: int = 0,
) -> None:
    """Answer requests until SIGTERM or SIGINT, then answer those that have arrived and return.

    When it is ready, it prints one line: ``ready ADDRESS MODEL@CUT version=...``, with ``answers=NAME`` and
    ``metrics=URL`` if asked for. It ends with what it has answered and refused, for whatever reason it ends.
    `cutlayer.wire.visitors` logs who connects.

    Args:
        folder: A split folder; its `split.json` and the files of the tail are checked.
        listen: Address; port 0 takes a free one, and the ready line names it.
        tail: Runtime of the tail.
        tap: Folder for a copy of everything that arrives; no copy if left out.
        durable: Whether to write to the tap before answering; see `Tap`.
        threads: Threads that compute one request; all cores if None.
        limits: Limits of batches and unanswered requests.
        metrics: ``HOST:PORT`` for metrics and health over HTTP; see `MetricsServer`.
        grace_s: Seconds to answer arrived requests when told to stop. New requests are refused meanwhile.
        timeouts: Time limits of the transport; a server uses `heartbeat_s` and `idle_s`.
        security: Files for encryption and authentication; plain text if left out.
        answers: The answer defense; none if left out.
        learned: File of what it has learned; see `cutlayer.defenses.answers.learned`.
        usual: File of smashed data of usual inputs, for a log of queries; no log if left out.
        most_of_class: See `cutlayer.cloud.query_log.QueryLog`.

    Raises:
        ConfigError: The answer defense cannot answer for this tail, or lacks what it has learned.
        SplitError: The folder is damaged.
        WireError: The address is taken.
    """
    stop = StopSignal()
    tune_allocator()
    split = open_split(folder)
    manifest = split.manifest
    with ExitStack() as opened:
        tapped = None if tap is None else opened.enter_context(closing(Tap(tap, manifest, durable=durable)))
        visitors = opened.enter_context(closing(Visitors()))
        told = answers_of(manifest, answers, learned)
        half = split.tail(tail, threads)
        queries = None if usual is None else query_log(usual, manifest, most_of_class)
        service = Service(manifest, half, tapped, limits=limits, visitors=visitors, answers=told, queries=queries)
        opened.callback(lambda: tell(service.metrics.summary()))
        if queries is not None:
            opened.callback(lambda: tell_lines(queries.summary()))
        # Closed in the reverse order, so that the metrics show the shutdown.
        metrics_server = None
        if metrics is not None:
            metrics_server = opened.enter_context(closing(MetricsServer(metrics, service, insecure=security.insecure)))
        server = opened.enter_context(
            closing(listen_at(listen, service, timeouts, security=security, visitors=visitors))
        )
        opened.callback(service.drain, grace_s)
        said = [] if told is None else [f"answers={told.title.replace(' ', ',')}"]
        if metrics_server is not None:
            said.append(f"metrics={metrics_server.address}/metrics")
        tell(" ".join(["ready", str(server.address), tail_name(manifest), f"version={manifest.version}", *said]))
        stop.wait()
