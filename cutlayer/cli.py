"""The `cutlayer` command. Each subcommand imports what it needs when it runs, so that the device never loads torch."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import OmitArgPrefixes, Positional, UseAppendAction, arg

from cutlayer.errors import ConfigError, CutlayerError

app = tyro.extras.SubcommandApp()

Cuttable = Annotated[str, arg(metavar="MODEL")]
Folder = Annotated[Path, arg(metavar="FOLDER")]


@app.command(name="list")
def list_names(
    kind: Positional[Literal["attacks", "defenses", "models", "datasets", "metrics", "codecs", "transports"]], /
) -> None:
    """Names that experiments and commands can use, with their options and defaults."""
    from cutlayer import registry

    table: registry.Registry = getattr(registry, kind.upper())
    for name in table:
        print(f"{name:22} {table.summary(name)}")


@app.command
def cuts(
    model: Positional[Cuttable],
    /,
    input: str | None = None,
    classes: int = 10,
) -> None:
    """Every place the model can be cut: name, shape, bytes, params and MACs of the head.

    Args:
        model: A name from `cutlayer list models`.
        input: Shape of one image, such as 3x32x32; the model's own when left out.
        classes: Outputs of the model.
    """
    from cutlayer.models import zoo
    from cutlayer.models.cuts import cuts as find_cuts

    spec = zoo.default_input(model) if input is None else _shape(input)
    print(f"{model} for {spec} images, {spec.nbytes:,} bytes each")
    print(f"{'cut':32} {'smashed':>14} {'bytes':>12} {'of input':>9} {'head params':>12} {'head MACs':>14}")
    for cut in find_cuts(zoo.build(model, spec, classes), spec):
        shape = "x".join(map(str, cut.shape))
        ratio = cut.nbytes / spec.nbytes
        print(f"{cut.name:32} {shape:>14} {cut.nbytes:>12,} {ratio:>8.2f}x {cut.params:>12,} {cut.macs:>14,}")


@app.command
def split(
    model: Positional[Cuttable],
    /,
    cut: str,
    data: str,
    out: Path,
    epochs: int = 4,
    seed: int = 0,
    data_root: Path | None = None,
) -> None:
    """Train a model, cut it, and export the two halves as a split folder.

    Args:
        model: A name from `cutlayer list models`.
        cut: A name from `cutlayer cuts MODEL`.
        data: A name from `cutlayer list datasets`.
        out: The folder to write.
        epochs: Passes over the training part.
        seed: Of weights, order and splits.
        data_root: Where data sets that are not embedded lie; CUTLAYER_DATA or ./data when left out.
    """
    from cutlayer.data.load import load
    from cutlayer.experiment import victim
    from cutlayer.experiment.nouns import Experiment, Training

    splits = load(data, data_root, seed)
    experiment = Experiment(data, model, cut, seed=seed, training=Training(epochs=epochs))
    victim.check_cut(experiment, splits)
    trained = victim.train(experiment, splits, _say)
    correct, n = victim.accuracy(trained, splits.test)
    manifest = victim.export(experiment, trained, splits, out, _say)
    print(f"{out}: {model} cut at {cut}, smashed {manifest.smashed}, test accuracy {correct / n:.1%} (n = {n:,})")


@app.command
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

    limits = Limits(max_batch, max_delay_us, budget_mib << 20)
    security = Security(ca, cert, key, token_file, curve_key, allow=allow)
    serve(
        folder, listen, tail=tail, tap=tap, durable=durable, threads=threads, limits=limits, metrics=metrics,
        security=security, insecure=insecure,
    )  # fmt: skip


@app.command
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
    from cutlayer.wire.security import Security
    from edge.send import send

    security = Security(ca, cert, key, token_file, curve_key, curve_server)
    summary = send(
        folder, connect, head=head, data=data, count=count, private=private, releases=releases, warmup=warmup,
        codec=codec, threads=threads, record=record, security=security, insecure=insecure, seed=seed,
        data_root=data_root,
    )  # fmt: skip
    print(summary)


@app.command
def run(
    experiments: Positional[Annotated[Path, arg(metavar="FILE.toml")]],
    /,
    set: Annotated[UseAppendAction[list[str]], arg(metavar="KEY=VALUE")] = [],  # noqa: B006
    out: Path = Path("runs"),
    resume: bool = True,
    part: str = "1/1",
    data_root: Path | None = None,
) -> None:
    """Run every experiment of a plan: train, split, serve, measure, attack. Finished ones are not run again.

    Args:
        experiments: A plan; see experiments/.
        set: Change one value, such as defense.sigma=0.5 or training.epochs=1; may be given several times.
        out: Where records go.
        resume: Keep what an interrupted run had finished; --no-resume begins anew.
        part: Which share of the experiments, so that several processes or machines divide a plan: 1/2 and 2/2.
        data_root: Where data sets that are not embedded lie; CUTLAYER_DATA or ./data when left out.
    """
    from cutlayer.experiment import plan
    from cutlayer.experiment.run import run_all
    from cutlayer.report.table import text

    settings = dict(_setting(one) for one in set)
    planned = plan.share(plan.load(experiments, settings), part)
    results = run_all(planned, out, resume=resume, data_root=data_root, say=_say)
    print(text(results))


@app.command
def report(runs: Positional[Annotated[Path, arg(metavar="RUNS")]] = Path("runs"), /) -> None:
    """Write one self-contained HTML page from the records of finished runs."""
    from cutlayer.report.html import write

    print(f"The report is {write(runs).resolve()}")


@app.command
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
    from cutlayer.certs import init

    for path in init(folder, host):
        print(path)


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise ConfigError(f"--set takes KEY=VALUE, not {text!r}.")
    return key, value


def _shape(text: str):  # type: ignore[no-untyped-def]
    from cutlayer.spec import image_spec

    try:
        channels, height, width = map(int, text.split("x"))
    except ValueError:
        raise ConfigError(f"A shape reads CxHxW, such as 3x32x32, not {text!r}.") from None
    return image_spec(channels, height, width)


def _say(text: str) -> None:
    """Progress goes to standard error, so that standard output holds results alone."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Entry point. One sentence on standard error and exit code 2 for anything that the user can mend."""
    # Threads that spin while they wait make torch ten times slower when anything else runs on the same cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app.cli(prog="cutlayer", config=(OmitArgPrefixes,))
    except CutlayerError as error:
        print(f"cutlayer: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has seen enough; what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
