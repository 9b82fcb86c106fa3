"""Everything that determines one result, as frozen data."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from cutlayer.errors import ConfigError
from cutlayer.models.start import RANDOM, Start
from cutlayer.options import Batch, Count, Epochs, LearningRate, Threads, Whole, Within
from cutlayer.registry import ATTACKS, CODECS, DATASETS, DEFENSES, METRICS, MODELS
from cutlayer.tables import UNDEFENDED, Named, Options, names_something
from cutlayer.wire.codecs.packed import rewritten

HEADS = ("onnx", "torch")


@dataclass(frozen=True)
class Training:
    """How the victim's model is trained before it is cut.

    Attributes:
        epochs: Passes over the training images.
        lr: The greatest learning rate of the cycle.
        batch: Images in a step.
        flip: Mirror half of the images left to right.
        images: The first so many training images, for the model and for its defense; 0 for all.
        whole: Train all weights of a language model in a folder, and not its classifier alone; others are trained whole
            in any case.
    """

    epochs: Epochs = 4
    lr: LearningRate = 2e-3
    batch: Batch = 64
    flip: bool = False
    images: Whole = 0
    whole: bool = False


@dataclass(frozen=True)
class Measure:
    """The requests of the device, and how it computes them.

    Attributes:
        count: Test images, sent one by one: accuracy and latency.
        private: Victims' images, sent one by one: what the attackers reconstruct.
        auxiliary: The first so many of the attackers' own images; 0 for all that there are.
        auxiliary_data: Data set whose auxiliary part the attackers hold, in the size and the channels of the victims';
            the data set of the victims if empty.
        warmup: Requests before the first that counts.
        codec: Name of the codec on the wire.
        metrics: Metrics beside the standard ones: names from `cutlayer list metrics`, or of the user's own.
        edge_threads: Threads of the device's head.
        cloud_threads: Threads of the server's tail.
        turns: Rounds in which a defended deployment takes turns with the undefended model, for the time that the
            defense adds; 0 for none.
        access: What the attackers are granted of the head: query-free, black-box or white-box. An attack that needs
            more is refused.
        vantage: Where they sit: cloud, link, encrypted-link, client or servers; see `cutlayer.attacks.view.VANTAGES`.
        servers: With the vantage servers, their number: each gets one release of every private image.
    """

    count: Count = 500
    private: Count = 64
    auxiliary: Whole = 0
    auxiliary_data: str = ""
    warmup: Whole = 20
    codec: str = "raw"
    metrics: tuple[str, ...] = ()
    edge_threads: Threads = 1
    cloud_threads: Threads = 1
    turns: Annotated[int, Within(0, 10_000)] = 0
    access: str = "white-box"
    vantage: str = "cloud"
    servers: Annotated[int, Within(1, 64)] = 1


@dataclass(frozen=True)
class Deployment:
    """How head and tail reach each other."""

    transport: str = "zmq"
    head: str = "onnx"

    @property
    def label(self) -> str:
        """Short name in records."""
        return f"{self.transport}-{self.head}"


@dataclass(frozen=True)
class Published:
    """A value from the literature, shown beside ours."""

    attack: str
    cut: str
    source: str
    psnr: float | None = None
    ssim: float | None = None
    mse: float | None = None


@dataclass(frozen=True)
class Probe:
    """What else is inferred from smashed data, beside the picture; see `cutlayer.privacy.probes`.

    Attributes:
        target: class, attribute, identity or membership.
        attribute: Name of the attribute, where that is the target: one of the data set, or ``bright``.
        network: linear or mlp; of no account for the membership.
        n_releases: Releases of one input that are observed.
        images: Private inputs that are probed, and as many training images for the membership.
    """

    target: str
    attribute: str = ""
    network: str = "linear"
    n_releases: Annotated[int, Within(1, 1024)] = 1
    images: Count = 500

    @property
    def label(self) -> str:
        """Short name for messages."""
        return " ".join(filter(None, [self.target, self.attribute, self.network]))


@dataclass(frozen=True)
class Experiment:
    """Everything that determines one result. Equal experiments have equal ids.

    Attributes:
        input: Size of the images, such as 3x64x64, for data by path; that of the arrays, or of the model, if empty. Of
            sentences their greatest length, such as 64.
    """

    data: str
    model: str
    cut: str
    name: str = "experiment"
    claim: str = ""
    seed: int = 0
    training: Training = Training()
    measure: Measure = Measure()
    start: Start = RANDOM
    defense: Named = UNDEFENDED
    deployments: tuple[Deployment, ...] = (Deployment(),)
    attacks: tuple[Named, ...] = (Named("mean-image"),)
    published: tuple[Published, ...] = ()
    expect: tuple[str, ...] = ()
    input: str = ""
    probes: tuple[Probe, ...] = ()

    @property
    def id(self) -> str:
        """12 hex digits over what differs from the defaults; names and texts do not count.

        What is not part of cutlayer counts with the hash of its source file.
        """
        parts: Options = {"data": DATASETS.identity(self.data), "model": MODELS.identity(self.model), "cut": self.cut}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name not in ("name", "claim", "published", "expect", *parts) and value != f.default:
                parts[f.name] = _differences(value) if isinstance(value, Training | Measure | Start) else value
        text = json.dumps(parts, sort_keys=True, default=_identity)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def __str__(self) -> str:
        seed = f", seed {self.seed}" if self.seed else ""
        model, data = MODELS.label(self.model), DATASETS.label(self.data)
        raw = self.measure.codec == Measure.codec
        codec = "" if raw else f", codec {rewritten(self.measure.codec, CODECS.label)}"
        return f"{model} at {self.cut} on {data}{codec}, defense {self.defense.label}{seed}"


def _differences(value: Training | Measure | Start) -> Options:
    """The fields that differ from their defaults."""
    options = {f.name: getattr(value, f.name) for f in fields(value) if getattr(value, f.name) != f.default}
    if "codec" in options:
        options["codec"] = rewritten(options["codec"], CODECS.identity)
    if "auxiliary_data" in options:
        options["auxiliary_data"] = DATASETS.identity(options["auxiliary_data"])
    if "weights" in options:
        options["weights"] = file_digest(Path(options["weights"]))
    if "metrics" in options:
        options["metrics"] = [METRICS.identity(name) for name in options["metrics"]]
    return options


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex; of a folder, over its files.

    Raises:
        ConfigError: There is no such file.
    """
    files = sorted(part for part in path.rglob("*") if part.is_file()) if path.is_dir() else [path]
    if not all(part.is_file() for part in files):
        raise ConfigError(f"There is no file {path} with weights.")
    digests = [_digest(part, part.stat().st_mtime_ns) for part in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


@cache
def _digest(path: Path, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _identity(value: Any) -> Options:
    """The fields of a part of an experiment that count in its id: all but a title."""
    options = {key: entry for key, entry in asdict(value).items() if key != "title"}
    return _identified(options) if isinstance(value, Named) else options


def _identified(options: Options) -> Options:
    """The names in a description of a defense or an attack with the hash of their source; all else as it is."""
    identified: Options = {}
    for key, value in options.items():
        if isinstance(value, dict):
            value = _identified(value)
        elif names_something(key, value):
            known = next((kind for kind in (ATTACKS, DEFENSES) if kind.is_own(value)), None)
            value = value if known is None else known.identity(value)
        identified[key] = value
    return identified
