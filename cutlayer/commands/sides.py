"""The two sides of a split model, and the keys by which they know each other."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

Folder = Annotated[Path, arg(metavar="FOLDER")]


def cloud(
    folder: Positional[Folder],
    /,
    listen: str = "grpc://127.0.0.1:8001",
    tail: Literal["onnx", "torch"] = "onnx",
    tap: Path | None = None,
    durable: bool = False,
    threads: int | None = None,
    max_batch: int = 16,
    max_delay_us: int = 0,
    budget_mib: int = 256,
    metrics: str | None = None,
    heartbeat_s: float = 10.0,
    idle_s: float = 600.0,
    ca: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    token_file: Path | None = None,
    curve_key: Path | None = None,
    allow: Path | None = None,
    insecure: bool = False,
) -> None:
    """Serve the tail of a split folder until SIGTERM or Ctrl-C.

    Args:
        folder: Written by `cutlayer split`.
        listen: grpc://HOST:PORT or zmq://HOST:PORT; port 0 takes a free one and prints it.
        tail: Runtime of the tail.
        tap: Folder that keeps a copy of everything that arrives, for the attacks.
        durable: Let the tap write before the answer leaves, so that a killed server has lost nothing it answered.
        threads: Of the tail; all cores when left out.
        max_batch: Samples of all clients computed together; 1 computes each request by itself.
        max_delay_us: How long a request may wait for others to be computed with.
        budget_mib: Of requests in flight; further ones are told to come again.
        metrics: HOST:PORT for Prometheus metrics and health over HTTP.
        heartbeat_s: Silence after which a client is probed; give both sides the same.
        idle_s: Time without a request after which a stream is ended and a connection dropped, over gRPC.
        ca: Certificate (PEM) of the authority that signed the clients'. Clients without one are refused.
        cert: This side's certificate (PEM), for TLS over gRPC.
        key: Its private key (PEM).
        token_file: File with the token that clients must show, over gRPC.
        curve_key: This side's secret key, for CURVE over ZeroMQ.
        allow: Public keys of the clients to admit over ZeroMQ: a file, or a folder of *.pub; all when left out.
        insecure: Allow plain text off loopback.
    """
    from cloud.batcher import Limits
    from cloud.serve import serve
    from cutlayer.wire.security import Security
    from cutlayer.wire.transport import Timeouts

    limits = Limits(max_batch, max_delay_us, budget_mib << 20)
    timeouts = Timeouts(heartbeat_s=heartbeat_s, idle_s=idle_s)
    security = Security(ca, cert, key, token_file, curve_key, allow=allow)
    serve(
        folder, listen, tail=tail, tap=tap, durable=durable, threads=threads, limits=limits, metrics=metrics,
        timeouts=timeouts, security=security, insecure=insecure,
    )  # fmt: skip


def edge(
    folder: Positional[Folder],
    /,
    connect: str = "grpc://127.0.0.1:8001",
    head: Literal["onnx", "torch"] = "onnx",
    data: str = "photos",
    count: int = 500,
    private: int = 0,
    releases: int = 1,
    warmup: int = 20,
    codec: str = "raw",
    threads: int = 1,
    record: Path | None = None,
    connect_s: float = 5.0,
    request_s: float = 30.0,
    heartbeat_s: float = 10.0,
    on_offline: Literal["local", "queue", "drop"] | None = None,
    queue: Path = Path("queue"),
    queue_mib: int = 256,
    queue_full: Literal["refuse", "drop-oldest"] = "refuse",
    ca: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    token_file: Path | None = None,
    curve_key: Path | None = None,
    curve_server: Path | None = None,
    insecure: bool = False,
    seed: int = 0,
    data_root: Path | None = None,
) -> None:
    """Run the head of a split folder on images, send what it gives, and time each stage.

    Args:
        folder: Written by `cutlayer split`; the device needs split.json and head.onnx only.
        connect: Address of the cloud.
        head: Runtime of the head; onnx needs no torch.
        data: A name from `cutlayer list datasets`.
        count: Test images, sent one by one.
        private: Victims' images, sent after those, for the attacks.
        releases: How often each private image is sent.
        warmup: Requests before the first that counts.
        codec: A name from `cutlayer list codecs`; int8:channel, int8+zstd and the like work too.
        threads: Of the head.
        record: File (.npz) for the raw times and answers.
        connect_s: How long to wait for a server at the address.
        request_s: How long to wait for an answer, attempts after a lost connection included.
        heartbeat_s: Silence after which the server is probed; more for large tensors on a slow link, at both sides.
        on_offline: While the server is gone, run the whole model here (needs tail.onnx), keep requests on disk and send
            them in order once it is back, or drop them; the run ends when left out.
        queue: Folder of the requests kept on disk. What an earlier run left there is sent first.
        queue_mib: What it may take, in MiB.
        queue_full: What happens then: refuse ends the run, drop-oldest gives up the oldest.
        ca: Certificate (PEM) of the authority that signed the server's.
        cert: This side's certificate (PEM), for TLS over gRPC.
        key: Its private key (PEM).
        token_file: File with the token that the server asks for, over gRPC.
        curve_key: This side's secret key, for CURVE over ZeroMQ.
        curve_server: The server's public key, over ZeroMQ.
        insecure: Allow plain text off loopback.
        seed: Of the data splits.
        data_root: Where data sets that are not embedded lie; CUTLAYER_DATA or ./data when left out.
    """
    from cutlayer.errors import ConfigError
    from cutlayer.wire.security import Security
    from cutlayer.wire.transport import Timeouts
    from edge.offline.policy import WhenOffline
    from edge.send import send

    if queue_mib < 1:
        raise ConfigError(f"--queue-mib is at least 1, not {queue_mib}.")
    when = on_offline and WhenOffline(on_offline, queue, queue_mib << 20, queue_full == "drop-oldest")
    timeouts = Timeouts(connect_s, request_s, heartbeat_s)
    security = Security(ca, cert, key, token_file, curve_key, curve_server)
    summary = send(
        folder, connect, head=head, data=data, count=count, private=private, releases=releases, warmup=warmup,
        codec=codec, threads=threads, record=record, security=security, insecure=insecure, seed=seed,
        data_root=data_root, timeouts=timeouts, when_offline=when or None,
    )  # fmt: skip
    print(summary)


def certs(
    action: Positional[Literal["init"]],
    folder: Positional[Annotated[Path, arg(metavar="DIR")]],
    /,
    host: UseAppendAction[list[str]] = [],  # noqa: B006
) -> None:
    """Write keys and certificates for cloud and edge: an authority, TLS, a token, and CURVE.

    Args:
        action: init writes new ones; it replaces none.
        folder: Where to.
        host: Name or address under which devices reach the server; may be given several times.
    """
    from cutlayer.wire.certs import init

    for path in init(folder, host):
        print(path)
