"""What a device's process can be asked to time: the head, the whole model, a codec, whole requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.machine.contention import between, moment
from cutlayer.machine.energy import joules
from cutlayer.machine.footprint import peak_rss_bytes
from cutlayer.machine.throttling import condition, held_back, stopped
from cutlayer.split_folder import Half, SplitFolder
from cutlayer.trace import columns
from cutlayer.wire.codecs.packed import codec_named
from cutlayer.wire.connect import connect
from cutlayer.wire.security import Security
from cutlayer.wire.transport import Timeouts
from defenses.base import Defense
from edge.client import Edge
from edge.pipeline import Pipeline

WARMUP = 3
"""Repetitions before the first that counts, beside the very first, which is recorded apart."""


STEADY_S = 0.25
"""A head that takes microseconds is run for as long as this, or one hiccup of the machine would be all there is."""


@dataclass(frozen=True)
class Device:
    """A split folder, opened on the device.

    Attributes:
        split: The split folder.
        head: Its head.
        defense: Its defense, ready to protect.
        images: ``(N, C, H, W)`` in [0, 1], taken in turn.
        threads: That compute one request.
    """

    split: SplitFolder
    head: Half
    defense: Defense
    images: NDArray[np.float32]
    threads: int

    def image(self, index: int) -> NDArray[np.float32]:
        """A batch of one."""
        at = index % len(self.images)
        return self.images[at : at + 1]


def time_head(device: Device, samples: int, seconds: float, least: int) -> dict[str, Any]:
    """The head alone: each run in ns, and what the process took for all of them, as `Contention` counts it."""
    return _timed(device.head, device, samples, seconds, least)


def time_local(device: Device, samples: int, seconds: float, least: int) -> dict[str, Any]:
    """Head and tail both on this device, with no network at all."""
    tail = device.split.tail(threads=device.threads)
    return _timed(lambda images: tail(device.head(images)), device, samples, seconds, least)


def time_codec(device: Device, codec: str, samples: int, seconds: float, least: int) -> dict[str, Any]:
    """Protect and encode what the head gives: ns of each, and the bytes of the tensor, image by image."""
    rng, made = np.random.default_rng(), codec_named(codec)
    smashed = [device.head(device.image(index)) for index in range(len(device.images))]
    pipelines = [Pipeline(lambda _, one=one: one, device.defense, made) for one in smashed]  # type: ignore[misc]

    def release(index: int) -> tuple[int, int, int]:
        released = pipelines[index % len(pipelines)].release(device.image(index), rng)
        return released.protect_ns, released.encode_ns, len(released.encoded.data)

    for index in range(WARMUP):
        release(index)
    protect_ns, encode_ns, n_bytes = zip(*map(release, _turns(samples, seconds, least)), strict=True)
    return {"protect_ns": protect_ns, "encode_ns": encode_ns, "bytes": n_bytes}


def time_requests(
    device: Device,
    address: str,
    codec: str,
    samples: int,
    seconds: float,
    least: int,
    request_s: float,
    security: Mapping[str, str | bool] | None = None,
) -> dict[str, Any]:
    """Whole requests to a server: the columns of `cutlayer.trace.Trace`, the first request apart."""
    # On the slowest networks a handshake takes many seconds, and a tensor keeps the line busy for longer than that.
    timeouts = Timeouts(connect_s=request_s, request_s=request_s, heartbeat_s=request_s)
    pipeline = Pipeline(device.head, device.defense, codec_named(codec))
    start_ns = time.monotonic_ns()
    transport = connect(address, timeouts, security=Security.from_json(security or {}))
    try:
        edge = Edge(device.split.manifest, pipeline, transport, timeouts)
        edge.infer(device.image(0), 0)
        first_ns = time.monotonic_ns() - start_ns
        traces = [edge.infer(device.image(i), 1 + i)[1] for i in _turns(samples, seconds, least)]
    finally:
        transport.close()
    return {"first_ns": first_ns, "columns": {name: values.tolist() for name, values in columns(traces).items()}}


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "head": time_head,
    "local": time_local,
    "codec": time_codec,
    "requests": time_requests,
}


def _timed(
    work: Callable[[NDArray[np.float32]], object], device: Device, samples: int, seconds: float, least: int
) -> dict[str, Any]:
    for index in range(WARMUP):
        work(device.image(index))
    taken: list[int] = []
    was, before_j, before = condition(), joules(), moment()
    for index in _turns(samples, seconds, least, min(seconds, STEADY_S)):
        image = device.image(index)
        start = time.monotonic_ns()
        work(image)
        taken.append(time.monotonic_ns() - start)
    alone, after_j = between(before, moment()), joules()
    now, spent = condition(), None
    if before_j is not None and after_j is not None and after_j >= before_j:
        spent = (after_j - before_j) / len(taken)
    quota_kept = stopped(was, now)
    return {
        "ns": taken,
        **alone._asdict(),
        "peak_rss_bytes": peak_rss_bytes(),
        "joules": spent,
        "held_back": held_back(was, now),
        "quota": quota_kept and quota_kept._asdict(),
        "temperature_c": now.temperature_c and asdict(now.temperature_c),
        "clock_hz": now.clock_hz and asdict(now.clock_hz),
    }


def _turns(samples: int, seconds: float, least: int, least_s: float = 0.0) -> Iterator[int]:
    """Indexes: so many, or those that fit into the time, but `least` and those of `least_s` whatever it takes."""
    start = time.monotonic()
    for index in count():
        passed = time.monotonic() - start
        enough = index >= max(samples, least) or (index >= least and passed > seconds)
        if enough and passed >= least_s:
            return
        yield index
