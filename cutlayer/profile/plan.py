"""What the user asks of a profile, read and checked before anything is run."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cutlayer.errors import ConfigError
from cutlayer.machine.confined import Limits
from cutlayer.models.start import RANDOM, Start
from cutlayer.onnx.given import NOTHING, Given, given
from cutlayer.spec import TensorSpec
from cutlayer.split_folder import Runtime
from cutlayer.wire.security import PLAIN, Security

Say = Callable[[str], None]
"""Receives a line about each step."""

_UNITS = {"us": 1e3, "ms": 1e6, "s": 1e9, "m": 6e10, "h": 3.6e12}

MOST_TOKENS = 1 << 16
"""Tokens of a sentence, at most."""

DEFAULT_NETWORKS = "loopback,wifi,lte"


@dataclass(frozen=True)
class Plan:
    """What to profile.

    Attributes:
        model: A name, an ONNX file or a split folder.
        cuts: Names of cuts, or ``auto`` or ``all``.
        input: Shape of one image, ``3x224x224``; the model's own when None.
        network: Networks with commas between them; `DEFAULT_NETWORKS` when None.
        data: Name of the data set whose images are sent; random images when None.
        data_root: Folder of the data sets that are not embedded.
        connect: Address of a real server; None for one on this machine.
        epochs: Epochs of training on the data set, for a model by name; 0 leaves its weights random.
        given: What the user states about an ONNX file.
        start: Weights of a model by name, and its normalization.
        privacy: Whether every cut is attacked, with the data set's images.
        tokens: Lengths of the sentences that are measured, in rising order; none where the model takes something else.
        confinement: What the work on an ONNX file may take until it is cut; None does it in this process, unlimited.
    """

    model: str
    cuts: tuple[str, ...] = ("auto",)
    input: str | None = None
    classes: int | None = None
    network: str | None = None
    data: str | None = None
    data_root: Path | None = None
    connect: str | None = None
    epochs: int = 0
    privacy: bool = False
    given: Given = NOTHING
    start: Start = RANDOM
    tokens: tuple[int, ...] = ()
    confinement: Limits | None = None


def names(what: str, text: str) -> tuple[str, ...]:
    """Names with commas between them, each once.

    Raises:
        ConfigError: A name is empty, or is there twice.
    """
    names = tuple(part.strip() for part in text.split(","))
    for place, name in enumerate(names):
        if not name:
            raise ConfigError(f"{text!r} has an empty {what} in it; write names with one comma between two.")
        if name in names[:place]:
            raise ConfigError(f"The {what} {name!r} is named twice in {text!r}; name it once.")
    return names


def numbers(text: str) -> tuple[int, ...]:
    """Numbers of cores with commas between them.

    Raises:
        ConfigError: One is not a number, or is there twice.
    """
    cores = names("core", text)
    if not all(core.isdecimal() and len(core) < 6 for core in cores):
        raise ConfigError(f"Cores must be numbers with commas between them, such as 0,1; {text!r:.80} was given.")
    return tuple(map(int, cores))


def token_counts(text: str) -> tuple[int, ...]:
    """Numbers of tokens with commas between them, in rising order.

    Raises:
        ConfigError: One is not a number from 1 to 65,536, or is there twice.
    """
    given = names("number of tokens", text)
    if not all(one.isascii() and one.isdecimal() and len(one) < 6 and 0 < int(one) <= MOST_TOKENS for one in given):
        raise ConfigError(f"--tokens takes lengths of sentences in tokens, such as 16,64,256; {text!r:.80} was given.")
    return tuple(sorted(map(int, given)))


def duration_ns(text: str) -> float:
    """A time with its unit: ``50ms``, or ``5m`` for minutes.

    Raises:
        ConfigError: The text is not a time above 0.
    """
    match = re.fullmatch(r"(\d{1,12}(?:\.\d*)?|\.\d+)\s*(us|ms|s|m|h)", text.strip())
    value = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not value:
        raise ConfigError(
            f"A time must be a number above 0 with us, ms, s, m or h, such as 50ms or 5m; {text!r:.80} was given."
        )
    return value


def shape(text: str) -> TensorSpec:
    """One image, ``CxHxW``.

    Raises:
        ConfigError: The text is not the shape of an image.
    """
    sizes = given([text]).shape
    if sizes is None or len(sizes) != 3:
        raise ConfigError(f"A shape must be CxHxW, such as 3x224x224; {text!r} was given.")
    return TensorSpec(sizes, "float32", 0.0, 1.0)


LEAST = 90
"""Number of samples that a p95 needs; a head gets as many, however long they take."""


@dataclass(frozen=True)
class Settings:
    """How the measurements are made.

    Attributes:
        codecs: Names of codecs, for `cutlayer.wire.codecs.packed.codec_named`.
        seconds: Longest time for each head, once there are `LEAST` runs: half of it, and the rest for rounds in place
            of disturbed ones. Codecs and requests get a share of it.
        server_threads: Threads of the tail, where this machine serves it.
        transport: Scheme of the transport between the two.
        seed: Seed of the order of the cuts, and of the images where they are random.
        security: Files for encryption and authentication, for a real server.
        cores: Numbers of the cores that the device's process runs on; all cores when empty.
        quota: CPU time per time of the device's process, 0.25 being a quarter of one core; no limit when None.
        tc: Whether the kernel shapes the emulated networks, in network namespaces.
    """

    codecs: tuple[str, ...]
    samples: int = 460
    seconds: float = 5.0
    threads: int = 1
    server_threads: int = 1
    head: Runtime = "onnx"
    transport: str = "grpc"
    seed: int = 0
    security: Security = PLAIN
    cores: tuple[int, ...] = ()
    quota: float | None = None
    tc: bool = False
