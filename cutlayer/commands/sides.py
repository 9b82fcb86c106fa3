"""The two sides of a split model, and the keys with which they authenticate each other."""

import logging
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from cutlayer.commands.security import Client, ClientSecurity, Server, ServerSecurity
from cutlayer.commands.training import setting
from cutlayer.errors import ConfigError
from cutlayer.options import At, Count, DataRoot, Mebibytes, OutFolder, Seconds, Seed, Size, Threads, Whole, Within
from cutlayer.registry import ANSWER_DEFENSES
from cutlayer.tables import UNDEFENDED, Named, Options, named, set_value
from cutlayer.terminal import tell, tell_lines
from cutlayer.wire.transport import Timeouts

Folder = Annotated[Path, At("folder"), arg(metavar="FOLDER")]


def cloud(
    folder: Positional[Folder | None] = None,
    /,
    train: Annotated[Path | None, At("file"), arg(metavar="PLAN.toml")] = None,
    listen: str = "grpc://127.0.0.1:8001",
    tail: Literal["onnx", "torch"] = "onnx",
    tap: Annotated[Path | None, At("folder")] = None,
    durable: bool = False,
    threads: Threads | None = None,
    max_batch: Size = 16,
    max_delay_us: Whole = 0,
    budget_mib: Mebibytes = 256,
    max_samples: Size = 256,
    metrics: str | None = None,
    codec: UseAppendAction[list[str]] = [],  # noqa: B006
    heartbeat_s: Seconds = 10.0,
    idle_s: Seconds = 600.0,
    out: OutFolder = Path("runs"),
    resume: bool = False,
    record: bool = False,
    compare: bool = True,
    log: UseAppendAction[list[str]] = [],  # noqa: B006
    data_root: DataRoot = None,
    answers: str = "none",
    set: Annotated[UseAppendAction[list[str]], arg(metavar="KEY=VALUE")] = [],  # noqa: B006
    learned: Annotated[Path | None, At("file")] = None,
    usual: Annotated[Path | None, At("file")] = None,
    most_of_class: Whole = 0,
    security: ServerSecurity = Server(),  # noqa: B008
) -> None:
    """Serve the tail of a split folder until SIGTERM or Ctrl-C; or, with --train, train a model with its clients.

    Standard error says who connects, who is refused, and why: at most five lines in ten seconds for one reason.

    Args:
        folder: Written by `cutlayer split`; none with --train.
        train: File of a training plan: wait for its clients (`cutlayer edge --train`), train, and end.
        listen: grpc://HOST:PORT or zmq://HOST:PORT; port 0 takes a free one and prints it.
        tail: Runtime of the tail.
        tap: Folder that keeps a copy of everything that arrives, for the attacks.
        durable: Write to the tap before each answer leaves, so that a killed server loses no answered request.
        threads: Threads of the tail; all cores if left out.
        max_batch: Most samples, of all clients, in one batch; a larger request is computed in slices.
        max_delay_us: Longest wait of a request for others to share its batch, in microseconds.
        budget_mib: Most MiB of unanswered requests, decoded; further ones are refused with a time to retry. One client
            holds at most half of what the others leave.
        max_samples: Most samples of a request; larger ones are refused.
        metrics: HOST:PORT for Prometheus metrics and health over HTTP.
        codec: A codec of your own that devices may use, such as mine.py:Negative; may be given several times. Those of
            `cutlayer list codecs` need no naming.
        heartbeat_s: Seconds of silence after which a client is probed; give both sides the same.
        idle_s: Seconds without a request after which a stream ends and a connection is dropped, over gRPC.
        out: Folder for the record of a training.
        resume: Go on with a training that was interrupted.
        record: Keep what the server sees while training, for attacks.
        compare: After a training, train each client alone as well, in this process, and attack the smashed data of
            the first and the last round, if the data are here.
        log: Where else the rounds of a training are written: tensorboard or mlflow; may be given several times.
        data_root: Folder of the data sets, from which a training server takes who holds what; CUTLAYER_DATA or ./data
            if left out.
        answers: A name from `cutlayer list answer-defenses`: what is replied in place of the logits. A reply then holds
            log-probabilities, -1000 where it tells nothing.
        set: An option of the answer defense, such as step=0.1; may be given several times.
        learned: File of what the answer defense has learned; see docs/deployment.md.
        usual: File (.npy) of smashed data of usual inputs: log what each client asks, and flag one that asks about what
            lies far from them; see docs/deployment.md.
        most_of_class: With --usual, samples of one class after which a client is flagged as well; 0 for any number.
        security: Files for encryption and authentication.
    """
    logging.getLogger("cutlayer.wire.visitors").setLevel(logging.INFO)
    if (train is None) == (folder is None):
        raise ConfigError("Name either the folder of a split to serve, or --train PLAN.toml.")
    if train is not None:
        if answers != UNDEFENDED.name or set or learned or usual:
            raise ConfigError(
                "A training server has no answer defense and no log of queries; --answers and --usual go with the "
                "folder of a split."
            )
        from cutlayer.commands.training import host

        timeouts = Timeouts(heartbeat_s=heartbeat_s, idle_s=idle_s)
        host(train, listen, out, data_root, timeouts, security, log, resume=resume, record=record, compare=compare)
        return
    assert folder is not None
    from cutlayer.cloud.admission import Limits
    from cutlayer.cloud.serve import serve
    from cutlayer.wire.codecs.packed import admit

    for name in codec:
        admit(name)
    limits = Limits(max_batch, max_delay_us, budget_mib << 20, max_samples)
    timeouts = Timeouts(heartbeat_s=heartbeat_s, idle_s=idle_s)
    serve(
        folder, listen, tail=tail, tap=tap, durable=durable, threads=threads, limits=limits, metrics=metrics,
        timeouts=timeouts, security=security, answers=_answer_defense(answers, set), learned=learned,
        usual=usual, most_of_class=most_of_class,
    )  # fmt: skip


def _answer_defense(name: str, settings: list[str]) -> Named:
    options: Options = {"name": name}
    known = tuple(ANSWER_DEFENSES.options(name))
    for given in settings:
        key, text = setting(given, "step=0.1")
        set_value(options, key, text, known, f"the answer defense {name}")
    first, *more = named(ANSWER_DEFENSES, options)
    if more:
        raise ConfigError("A server has one answer defense; give each of its options one value.")
    return first


def edge(
    folder: Positional[Folder | None] = None,
    /,
    train: bool = False,
    client: Annotated[str, arg(metavar="K/N")] = "",
    connect: str = "grpc://127.0.0.1:8001",
    head: Literal["onnx", "torch"] = "onnx",
    data: str | None = None,
    camera: str | None = None,
    count: Whole | None = None,
    loop: bool = False,
    rate: Annotated[float | None, Within(0, 1_000_000, above=True)] = None,
    private: Whole = 0,
    releases: Count = 1,
    warmup: Whole | None = None,
    codec: str = "raw",
    threads: Threads = 1,
    record: Annotated[Path | None, At("file")] = None,
    connect_s: Seconds = 5.0,
    request_s: Seconds = 30.0,
    heartbeat_s: Seconds = 10.0,
    on_offline: Literal["local", "queue", "drop"] | None = None,
    wait_s: Annotated[float, Within(0, 10_000_000)] = 1.0,
    queue: OutFolder = Path("queue"),
    queue_mib: Mebibytes = 256,
    queue_full: Literal["refuse", "drop-oldest"] = "refuse",
    join: Annotated[str | None, arg(metavar="CODE")] = None,
    images: Annotated[Path | None, At("folder")] = None,
    text: list[str] | None = None,
    name: str | None = None,
    transport: Literal["grpc", "zmq"] = "grpc",
    allow: UseAppendAction[list[str]] = [],  # noqa: B006
    at_least: Annotated[str | None, arg(metavar="NAME=VALUE")] = None,
    share_original: bool = False,
    plan: Annotated[Path | None, At("file"), arg(metavar="PLAN.toml")] = None,
    out: OutFolder = Path("runs"),
    patience_s: Seconds = 600.0,
    security: ClientSecurity = Client(),  # noqa: B008
    seed: Seed = 0,
    data_root: DataRoot = None,
) -> None:
    """Run the head of a split folder on data, send the smashed data, and time each stage; or train, or join a room.

    Args:
        folder: Written by `cutlayer split`; the device needs split.json and head.onnx only. None with --train.
        train: Take part in the training of the server (`cutlayer cloud --train`), which sends the plan.
        client: With --train, which client this is, of how many: 3/10.
        connect: Address of the cloud.
        head: Runtime of the head; onnx needs no torch.
        data: A name from `cutlayer list datasets`, the path of a folder of images, of a file of data, or `random`
            for random numbers; the data set that the split was trained on if left out. With --train, the folder of the
            data sets.
        camera: Number of a camera, or path of a video, in place of a data set; needs OpenCV.
        count: Number of test inputs or frames, sent one by one; if left out 500, or all test inputs if there are fewer.
            With 0, only the warmup and what waits in the queue are sent.
        loop: Begin again after the last input, until Ctrl-C or SIGTERM.
        rate: Requests per second; each is sent after the answer to the one before if left out.
        private: Number of victims' inputs, sent after the test inputs, for the attacks.
        releases: How many times each private input is sent.
        warmup: Requests before the first that counts; 20 if left out, and none with --text, which then sends nothing
            but what is said.
        codec: A name from `cutlayer list codecs`, also with an option or packings: int8:channel, int8+zstd.
        threads: Threads of the head.
        record: File (.npz) for the raw times and answers, and with --text for what was said: `cutlayer attack --truth`
            takes it. What is seen while training is kept where the plan says so.
        connect_s: Longest wait for a server at the address, in seconds.
        request_s: Longest wait for an answer in seconds, retries after a lost connection included.
        heartbeat_s: Seconds of silence after which the server is probed; for large tensors on a slow link give both
            sides more.
        on_offline: Without a server, run the whole model here (local, needs tail.onnx), keep requests on disk and send
            them in order later (queue), or drop them (drop); if left out, the run ends.
        wait_s: Longest time in seconds that a request waits for the server, if on-offline is given.
        queue: Folder of the requests kept on disk. Requests of an earlier run are sent first.
        queue_mib: Most MiB that the queue may take.
        queue_full: What happens when the queue is full: refuse ends the run, drop-oldest drops the oldest requests.
        join: The code that `cutlayer live` prints: join that room, with --camera, --images, --data or --text, --rate,
            --count, --threads and the options down to --share-original.
        images: With --join, a folder of pictures to send, again and again.
        text: Send these sentences to a split that takes text, or, where none is given, each line of standard input, and
            print what is answered. With --join what is typed here is sent at each change, and --data NAME types the
            sentences of a data set word by word.
        name: With --join, the name of this device for people; that of the machine if left out.
        transport: With --join, which of the server's transports is used.
        allow: With --join, a defense that the room may switch on, such as gaussian-noise; may be given several
            times. All that can be switched if left out.
        at_least: With --join, the weakest defense, such as gaussian-noise=0.5: the device refuses anything below, and
            other defenses.
        share_original: With --join, let the page of the room show what the camera sees, or what is typed.
        plan: With --train, a plan of your own in place of the server's; it has to be the same one. A plan that names
            files needs it.
        out: With --train, folder for the checkpoints, with which the same command goes on after an interruption.
        patience_s: With --train, longest silence of the server in seconds, after which this client ends.
        security: Files for encryption and authentication.
        seed: Seed of the data splits.
        data_root: Folder of the data sets that are not embedded; CUTLAYER_DATA or ./data if left out.
    """
    if (folder is not None) + train + (join is not None) != 1:
        raise ConfigError("Name either the folder of a split, or --train with --client K/N, or --join with a code.")
    if join is None and (images or name or allow or at_least or share_original):
        raise ConfigError("--images, --name, --allow, --at-least and --share-original go with --join and a code.")
    if train and text is not None:
        raise ConfigError("--text goes with the folder of a split, or with --join and a code.")
    if join is not None:
        import socket

        from cutlayer.edge.joined import join as join_room
        from cutlayer.edge.wishes import Consent
        from cutlayer.wire.join_code import JoinCode

        join_room(
            JoinCode.parse(join), camera=camera, images=images, data=data, text=text,
            name=name or socket.gethostname()[:40], transport=transport, consent=Consent.of(allow, at_least),
            share_original=share_original, rate=rate, count=count, threads=threads, seed=seed, data_root=data_root,
            security=security,
        )  # fmt: skip
        return
    if train:
        from cutlayer.commands.training import join as join_training

        root = data_root or (Path(data) if data else None)
        join_training(
            client, connect, plan, out, root, Timeouts(connect_s, request_s, heartbeat_s), security, patience_s
        )
        return
    assert folder is not None
    from cutlayer.edge.offline.policy import OfflinePolicy
    from cutlayer.edge.send import send

    policy = on_offline and OfflinePolicy(on_offline, queue, queue_mib << 20, queue_full == "drop-oldest", wait_s)
    timeouts = Timeouts(connect_s, request_s, heartbeat_s)
    summary = send(
        folder, connect, head=head, data=data, count=count, private=private, releases=releases, warmup=warmup,
        codec=codec, threads=threads, record=record, security=security, seed=seed,
        data_root=data_root, timeouts=timeouts, policy=policy or None, rate=rate, loop=loop, camera=camera, text=text,
    )  # fmt: skip
    tell_lines(summary)


def certs(
    action: Positional[Literal["init"]],
    folder: Positional[Annotated[Path, At("folder"), arg(metavar="DIR")]],
    /,
    host: UseAppendAction[list[str]] = [],  # noqa: B006
) -> None:
    """Write keys and certificates for cloud and edge: an authority, TLS, a token, and CURVE.

    Args:
        action: init writes new files and never overwrites one.
        folder: Folder for the files.
        host: Name or address under which devices reach the server; may be given several times.
    """
    from cutlayer.wire.certs import init

    for path in init(folder, host):
        tell(path)
