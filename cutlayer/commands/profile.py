"""Where to cut a model, on this device and over which network."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from cutlayer.commands.models import Texts
from cutlayer.commands.security import Client, ClientSecurity
from cutlayer.errors import ConfigError
from cutlayer.onnx.given import given
from cutlayer.options import (
    Classes,
    Count,
    DataRoot,
    Epochs,
    Gigabytes,
    OutFolder,
    Seconds,
    Seed,
    Share,
    Threads,
    Weights,
    Within,
)
from cutlayer.own import recordable
from cutlayer.terminal import say, tell, tell_lines


def profile(
    model: Positional[Annotated[str, arg(metavar="MODEL")]],
    /,
    cuts: str = "auto",
    input: Texts = [],  # noqa: B006
    state: Texts = [],  # noqa: B006
    constant: Texts = [],  # noqa: B006
    public: Texts = [],  # noqa: B006
    weights: Weights = None,
    classes: Classes = None,
    mean: str | None = None,
    std: str | None = None,
    network: str | None = None,
    tc: bool = False,
    codecs: str = "raw,fp16,int8+zstd",
    connect: str | None = None,
    head: Literal["onnx", "torch"] = "onnx",
    threads: Threads = 1,
    server_threads: Threads = 1,
    transport: str = "grpc",
    samples: Count = 460,
    seconds: Seconds = 5.0,
    data: str | None = None,
    tokens: str | None = None,
    data_root: DataRoot = None,
    epochs: Epochs = 0,
    privacy: bool = False,
    max_latency: str | None = None,
    max_leakage: Share | None = None,
    min_accuracy: Share | None = None,
    cores: str | None = None,
    quota: Annotated[float | None, Within(0, 1024, above=True)] = None,
    seed: Seed = 0,
    out: OutFolder = Path("runs/profile"),
    limit_s: Seconds | None = None,
    limit_gb: Gigabytes | None = None,
    security: ClientSecurity = Client(),  # noqa: B008
) -> None:
    """Run every cut of a model on this device, and say which is best on which network, and why.

    Args:
        model: A name from `cutlayer list models`, a model of your own such as mine.py:Net, an ONNX file, or a split
            folder. Weights are random unless --weights or --epochs is given.
        cuts: auto for the cuts worth measuring, all, or names separated by commas; see `cutlayer cuts`.
        input: Shape of one image, such as 3x224x224, or of an input of an ONNX file by name, audio=1x576; the model's
            own if left out.
        state: For an ONNX file, an input that takes what an output of the request before gave: h=hn.
        constant: For an ONNX file, an input that always has the same value: sr=16000.
        public: For an ONNX file, an input that the server may see, so that both halves may take it: mask.
        weights: File of the weights of a model by name; see `cutlayer split`.
        classes: Number of outputs of a model by name; 10 if left out, or that of a model of your own.
        mean: Values subtracted from images in [0, 1] first, for a model by name; see docs/own.md.
        std: Values by which the result is divided.
        network: Names (loopback, lan, wifi, lte, 3g, nbiot, satellite) or rate/delay/jitter/loss, such as
            20mbit/40ms/5ms/0.1%, separated by commas; emulated on this machine. loopback,wifi,lte if left out.
        tc: Let the kernel shape the networks, in network namespaces; needs root, or user namespaces.
        codecs: Names from `cutlayer list codecs`, separated by commas.
        connect: Address of a real server of one of these cuts, which is measured there; the other cuts are computed.
        head: Runtime of the head; torch only for a split folder that holds its weights.
        threads: Threads of the head.
        server_threads: Threads of the tail, if this machine serves it.
        transport: grpc, zmq or another transport of `cutlayer list transports`, if this machine serves the tail.
        samples: Runs of each head, more of a quick one; a p95 needs 90, a p99 459.
        seconds: Time limit for the runs of each head, in seconds; half of it unless other programs disturb them.
        data: A name from `cutlayer list datasets`, or the path of a folder of images or of a file of data,
            whose inputs are sent instead of random ones; of sentences for a text model, of rows for one of tables.
        tokens: For a text model, lengths of sentences in tokens, such as 16,64,256: what each costs at every cut is
            measured beside the rest. A model by name is built for the longest.
        data_root: Folder of the data sets that are not embedded; CUTLAYER_DATA or ./data if left out.
        epochs: Training passes over the data set, for a model by name; 0 leaves its weights random.
        privacy: Attack every cut with ridge, nearest and a small decoder, of sentences with token-ridge and
            nearest-activation; it needs --data.
        max_latency: Recommend no cut above this latency, such as 50ms.
        max_leakage: Recommend no cut above this leakage gain, 0 to 1.
        min_accuracy: Recommend no cut below this accuracy, 0 to 1.
        cores: Numbers of the cores for the device's process, such as 0,1; all cores if left out.
        quota: CPU time of the device's process: 0.25 is a quarter of one core; no limit if left out.
        seed: Seed of weights, random inputs and the order of the cuts.
        out: Folder for profile.json, profile.csv, profile.html and the split folders of the cuts.
        limit_s: For an ONNX file, the time in seconds in which it must be cut; 600 if left out.
        limit_gb: For an ONNX file, the memory in GB that this may take; three quarters of this machine's if left out.
        security: Files for encryption and authentication.
    """
    from cutlayer.commands.models import start_of
    from cutlayer.machine.confined import limits as limits_of
    from cutlayer.profile.plan import Plan, Settings, duration_ns, names, numbers, token_counts
    from cutlayer.profile.run import run_plan
    from cutlayer.records.profile import Limits
    from cutlayer.report.profiles.page import HTML
    from cutlayer.report.profiles.terminal import text
    from cutlayer.wire.connect import servable

    if transport not in (listening := servable()):
        raise ConfigError(f"--transport must be {' or '.join(listening)}; {transport!r} was given.")
    for name in (model, data or ""):
        recordable(name)
    settings = Settings(
        names("codec", codecs), samples, seconds, threads, server_threads, head, transport, seed,
        security, () if cores is None else numbers(cores), quota, tc,
    )  # fmt: skip
    limits = Limits(None if max_latency is None else duration_ns(max_latency), max_leakage, min_accuracy)
    stated = given(input, state, constant, public)
    plan = Plan(
        model, names("cut", cuts), ",".join(input) or None, classes, network, data, data_root, connect, epochs, privacy,
        stated, start_of(weights, mean, std), () if tokens is None else token_counts(tokens),
        limits_of(limit_s, limit_gb),
    )  # fmt: skip
    profile = run_plan(plan, settings, limits, out, say, lambda incomplete: tell_lines(text(incomplete)))
    tell_lines(text(profile))
    tell()
    tell(f"The whole record and a page with charts are in {(out / HTML).resolve().parent}")
