"""What the user asks of a profile, read and checked before anything is run."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cutlayer.errors import ConfigError
from cutlayer.spec import TensorSpec
from cutlayer.wire.security import PLAIN, Security

_UNITS = {"us": 1e3, "ms": 1e6, "s": 1e9}

DEFAULT_NETWORKS = "loopback,wifi,lte"


@dataclass(frozen=True)
class Plan:
    """What to profile.

    Attributes:
        model: A name, an ONNX file or a split folder.
        cuts: Their names, or ``auto`` or ``all``.
        input: Shape of one image, ``3x224x224``; the model's own when None.
        classes: Outputs of a model by name.
        network: Networks with commas between them; `DEFAULT_NETWORKS` when None.
        data: Name of the data set whose images are sent; random ones when None.
        data_root: Where data sets that are not embedded lie.
        connect: Address of a real server; None for one on this machine.
        epochs: Of training on the data set, for a model by name; 0 leaves its weights random.
        privacy: Attack every cut, with the data set's images.
    """

    model: str
    cuts: tuple[str, ...] = ("auto",)
    input: str | None = None
    classes: int = 10
    network: str | None = None
    data: str | None = None
    data_root: Path | None = None
    connect: str | None = None
    epochs: int = 0
    privacy: bool = False


def names(what: str, text: str) -> tuple[str, ...]:
    """Names with commas between them, each once.

    Raises:
        ConfigError: One is empty, or comes twice.
    """
    found = tuple(part.strip() for part in text.split(","))
    for place, name in enumerate(found):
        if not name:
            raise ConfigError(f"{text!r} has an empty {what} in it; write names with one comma between two.")
        if name in found[:place]:
            raise ConfigError(f"The {what} {name!r} is asked for twice; name it once.")
    return found


def numbers(text: str) -> tuple[int, ...]:
    """Numbers of cores with commas between them.

    Raises:
        ConfigError: One is none, or comes twice.
    """
    found = names("core", text)
    if not all(name.isdecimal() for name in found):
        raise ConfigError(f"{text!r} are no numbers of cores; write 0,1, say.")
    return tuple(map(int, found))


def duration_ns(text: str) -> float:
    """A time with its unit, ``50ms``.

    Raises:
        ConfigError: It is none above 0.
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(us|ms|s)", text.strip())
    value = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not value:
        raise ConfigError(f"{text!r} is no time above 0; write 50ms, or another number with us, ms or s.")
    return value


def shape(text: str, *, image: bool = True) -> TensorSpec:
    """One sample, ``CxHxW``.

    Args:
        text: As the user wrote it.
        image: Whether it must have three axes; an ONNX file may take any number, such as ``1x16000`` of sound.

    Raises:
        ConfigError: It is none.
    """
    sizes = [int(size) for size in text.split("x")] if re.fullmatch(r"\d{1,9}(x\d{1,9})*", text) else []
    if not sizes or (image and len(sizes) != 3) or not 0 < math.prod(sizes) <= 1 << 28:
        raise ConfigError(f"A shape reads CxHxW, such as 3x224x224, not {text!r}.")
    return TensorSpec(tuple(sizes), "float32", 0.0, 1.0)


LEAST = 90
"""Samples that a p95 needs; a head gets as many whatever it takes."""


@dataclass(frozen=True)
class Settings:
    """How the measurements are made.

    Attributes:
        codecs: As `cutlayer.wire.codecs.packed.codec_named` reads them.
        samples: Runs of each head.
        seconds: At most, for each head, once there are `LEAST` runs; codecs and requests get a share of it.
        threads: Of the head.
        server_threads: Of the tail, where this machine serves it.
        head: Runtime of the head.
        transport: Between the two.
        seed: Of the order of the cuts, and of the images where they are random.
        security: Files for encryption and authentication, for a real server.
        cores: Numbers of those that the device's process runs on; all when empty.
        quota: CPU time per time of the device's process, 0.25 being a quarter of one core; no limit when None.
        tc: Let the kernel shape the emulated networks, in network namespaces.
    """

    codecs: tuple[str, ...]
    samples: int = 460
    seconds: float = 2.5
    threads: int = 1
    server_threads: int = 1
    head: Literal["onnx", "torch"] = "onnx"
    transport: str = "grpc"
    seed: int = 0
    security: Security = PLAIN
    cores: tuple[int, ...] = ()
    quota: float | None = None
    tc: bool = False
