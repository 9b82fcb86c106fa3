"""Where to cut a model, on this device and over which network."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from cutlayer.commands import say


def profile(
    model: Positional[Annotated[str, arg(metavar="MODEL")]],
    /,
    cuts: str = "auto",
    input: str | None = None,
    classes: int = 10,
    network: str | None = None,
    tc: bool = False,
    codecs: str = "raw,fp16,int8+zstd",
    connect: str | None = None,
    head: Literal["onnx", "torch"] = "onnx",
    threads: int = 1,
    server_threads: int = 1,
    transport: Literal["grpc", "zmq"] = "grpc",
    samples: int = 460,
    seconds: float = 2.5,
    data: str | None = None,
    data_root: Path | None = None,
    epochs: int = 0,
    privacy: bool = False,
    max_latency: str | None = None,
    max_leakage: float | None = None,
    min_accuracy: float | None = None,
    cores: str | None = None,
    quota: float | None = None,
    seed: int = 0,
    out: Path = Path("runs/profile"),
    ca: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    token_file: Path | None = None,
    curve_key: Path | None = None,
    curve_server: Path | None = None,
    insecure: bool = False,
) -> None:
    """Run every cut of a model on this device, and say which is best on which network, and why.

    Args:
        model: A name from `cutlayer list models` (random weights), an ONNX file, or a split folder.
        cuts: auto for those worth a measurement, all, or names with commas between them; see `cutlayer cuts`.
        input: Shape of one image, such as 3x224x224; the model's own when left out.
        classes: Outputs of a model by name.
        network: Names (loopback, lan, wifi, lte, 3g, nbiot, satellite) or rate/delay/jitter/loss, such as
            20mbit/40ms/5ms/0.1%, with commas between them; emulated on this machine. loopback,wifi,lte when left out.
        tc: Let the kernel shape them, in network namespaces; as root, or where user namespaces are allowed.
        codecs: Names from `cutlayer list codecs`, with commas between them.
        connect: A real server that serves one of these cuts: measured over the real network, and the others computed.
        head: Runtime of the head; torch only for a split folder that holds its weights.
        threads: Of the head.
        server_threads: Of the tail, where this machine serves it.
        transport: Between device and server, where this machine serves the tail.
        samples: Runs of each head, more of a quick one; a p95 needs 90, a p99 459.
        seconds: At most, for the runs of each head.
        data: A name from `cutlayer list datasets`: its images are sent, in place of random ones.
        data_root: Where data sets that are not embedded lie; CUTLAYER_DATA or ./data when left out.
        epochs: Of training on the data set, for a model by name; 0 leaves its weights random.
        privacy: Attack every cut with ridge, nearest and a small decoder, with the images of --data.
        max_latency: Recommend no cut above it, such as 50ms.
        max_leakage: Recommend no cut above this leakage gain, 0 to 1.
        min_accuracy: Recommend no cut below this accuracy, 0 to 1.
        cores: Numbers of the cores that the device's process runs on, such as 0,1; all when left out.
        quota: CPU time of the device's process: 0.25 is a quarter of one core; no limit when left out.
        seed: Of weights, random images and the order of the cuts.
        out: Folder for profile.json, profile.csv, profile.html and the split folders of the cuts.
        ca: Certificate (PEM) of the authority that signed the server's.
        cert: This side's certificate (PEM), for TLS over gRPC.
        key: Its private key (PEM).
        token_file: File with the token that the server asks for, over gRPC.
        curve_key: This side's secret key, for CURVE over ZeroMQ.
        curve_server: The server's public key, over ZeroMQ.
        insecure: Allow plain text off loopback.
    """
    from cutlayer.profile.plan import Plan, Settings, duration_ns, names, numbers
    from cutlayer.profile.run import run_plan
    from cutlayer.records.profile import Limits
    from cutlayer.report.profiles.page import HTML
    from cutlayer.report.profiles.terminal import text

    files = {"ca": ca, "cert": cert, "key": key, "token_file": token_file}
    files |= {"curve_key": curve_key, "curve_server": curve_server}
    settings = Settings(
        names("codec", codecs), samples, seconds, threads, server_threads, head, transport, seed,
        {name: str(path) for name, path in files.items() if path is not None}, insecure,
        () if cores is None else numbers(cores), quota, tc,
    )  # fmt: skip
    limits = Limits(None if max_latency is None else duration_ns(max_latency), max_leakage, min_accuracy)
    plan = Plan(model, names("cut", cuts), input, classes, network, data, data_root, connect, epochs, privacy)
    print(text(run_plan(plan, settings, limits, out, say)))
    print(f"\nThe whole record, and a page with charts, are in {(out / HTML).resolve().parent}")
