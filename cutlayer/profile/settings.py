"""How the measurements of a profile are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

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
        security: Files that prove who is who to a real server, by the names of `Security`.
        insecure: Allow plain text to a real server off loopback.
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
    security: Mapping[str, str] = field(default_factory=dict)
    insecure: bool = False
    cores: tuple[int, ...] = ()
    quota: float | None = None
    tc: bool = False
