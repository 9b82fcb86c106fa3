"""Everything that determines one result, as frozen data."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

HEADS = ("onnx", "torch")
Options = dict[str, Any]


@dataclass(frozen=True)
class Training:
    """How the victim's model is trained before it is cut.

    Attributes:
        epochs: Passes over the training images.
        lr: The greatest learning rate of the cycle.
        batch: Images in a step.
        flip: Mirror half of the images left to right.
        images: The first so many training images, for the model and for its defense; 0 for all.
    """

    epochs: int = 4
    lr: float = 2e-3
    batch: int = 64
    flip: bool = False
    images: int = 0


@dataclass(frozen=True)
class Measure:
    """The requests of the device, and how it computes them.

    Attributes:
        count: Test images, sent one by one: accuracy and latency.
        private: Victims' images, sent one by one: what the attackers reconstruct.
        auxiliary: The first so many of the attackers' own images; 0 for all that there are.
        warmup: Requests before the first that counts.
        codec: Name of the codec on the wire.
        edge_threads: Threads of the device's head.
        cloud_threads: Threads of the server's tail.
    """

    count: int = 500
    private: int = 64
    auxiliary: int = 0
    warmup: int = 20
    codec: str = "raw"
    edge_threads: int = 1
    cloud_threads: int = 1


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
class Named:
    """A defense or an attack: its name in the registry and the options that differ from the defaults.

    Attributes:
        name: Name in the registry.
        options: Options that differ from their defaults; for a defense also `then`, the one that follows it.
        title: Title in place of the name and its options.
    """

    name: str
    options: Options = field(default_factory=dict)
    title: str = ""

    @property
    def key(self) -> str:
        """Name and options: ``gaussian-noise sigma=0.5``, ``ressfl then gaussian-noise sigma=0.1``."""
        return _text({"name": self.name, **self.options})

    @property
    def label(self) -> str:
        """Title in records and tables."""
        return self.title or self.key


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
class Experiment:
    """Everything that determines one result. Equal experiments have equal ids."""

    data: str
    model: str
    cut: str
    name: str = "experiment"
    claim: str = ""
    seed: int = 0
    training: Training = Training()
    measure: Measure = Measure()
    defense: Named = Named("none")
    deployments: tuple[Deployment, ...] = (Deployment(),)
    attacks: tuple[Named, ...] = (Named("mean-image"),)
    published: tuple[Published, ...] = ()
    expect: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """12 hex digits over what differs from the defaults; names and texts do not count."""
        parts: Options = {"data": self.data, "model": self.model, "cut": self.cut}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name not in ("name", "claim", "published", "expect", *parts) and value != f.default:
                parts[f.name] = _differences(value) if isinstance(value, Training | Measure) else value
        text = json.dumps(parts, sort_keys=True, default=_identity)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def __str__(self) -> str:
        seed = f", seed {self.seed}" if self.seed else ""
        return f"{self.model} at {self.cut} on {self.data}, defense {self.defense.label}{seed}"


def _differences(value: Training | Measure) -> Options:
    """The fields that differ from their defaults."""
    return {f.name: getattr(value, f.name) for f in fields(value) if getattr(value, f.name) != f.default}


def _identity(value: Any) -> Options:
    """The fields of a part of an experiment that count in its id: all but a title."""
    return {key: entry for key, entry in asdict(value).items() if key != "title"}


def _text(description: Options) -> str:
    text = str(description["name"])
    for key, value in description.items():
        if key not in ("name", "then"):
            text += f" {key}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
    return f"{text} then {_text(description['then'])}" if "then" in description else text
