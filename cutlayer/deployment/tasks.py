"""The tasks of a device's process: to time the head, the whole model, a codec, or whole requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.defenses.base import Defense
from cutlayer.edge.client import Edge
from cutlayer.edge.pipeline import Pipeline
from cutlayer.machine.contention import between, moment
from cutlayer.machine.energy import joules
from cutlayer.machine.footprint import peak_rss_bytes
from cutlayer.machine.throttling import condition, held_back, own_clock_hz, stopped
from cutlayer.records.dataclass_json import dump
from cutlayer.sequences import trimmed
from cutlayer.split_folder import Half, SplitFolder, whole
from cutlayer.trace import columns
from cutlayer.wire.codecs.packed import codec_named
from cutlayer.wire.connect import connect
from cutlayer.wire.security import Security
from cutlayer.wire.transport import Timeouts

WARMUP = 3
"""Repetitions before the first that counts, beside the very first, which is recorded apart."""

STEADY_S = 0.25
"""Least time for the runs of a head: with one that takes microseconds, they would all fall into one hiccup."""


@dataclass(frozen=True)
class Device:
    """A split folder, opened on the device.

    Attributes:
        defense: Its defense, ready to protect.
        images: ``(N, *input.shape)``: images in [0, 1], or sentences, taken in turn.
        threads: Threads that compute one request.
    """

    split: SplitFolder
    head: Half
    defense: Defense
    images: NDArray[Any]
    threads: int

    @cached_property
    def smashed(self) -> list[NDArray[np.float32]]:
        """The output of the head for each image."""
        return [self.head(self.image(index)) for index in range(len(self.images))]

    def image(self, index: int) -> NDArray[Any]:
        """A batch of one; a sentence without the padding behind it."""
        at = index % len(self.images)
        batch = self.images[at : at + 1]
        return batch if self.split.manifest.length is None else trimmed(batch)

    def of_length(self, tokens: int) -> Device:
        """The same device, with the first tokens of each sentence."""
        return replace(self, images=np.ascontiguousarray(self.images[:, :tokens]))


def time_head(device: Device, samples: int, seconds: float, least: int) -> dict[str, Any]:
    """Time the head alone: each run in ns, and the load of the machine meanwhile, as `Contention` counts it."""
    return _timed(device.head, device, samples, seconds, least)


def time_local(device: Device, samples: int, seconds: float, least: int) -> dict[str, Any]:
    """Time head and tail both on this device, with no network at all; see `time_head`."""
    tail = device.split.tail(threads=device.threads)
    return _timed(whole(device.head, tail, device.split.manifest), device, samples, seconds, least)


def time_codec(device: Device, codec: str, samples: int, seconds: float, least: int) -> dict[str, Any]:
    """Time defense and codec on the head's output: ns of each, and the bytes of the tensor, image by image."""
    rng, smashed = np.random.default_rng(), device.smashed
    chosen = codec_named(codec)

    def release(index: int) -> tuple[int, int, int]:
        at = index % len(smashed)
        # The head has been run: what is left of the pipeline starts with its output.
        pipeline = Pipeline(lambda _: smashed[at], device.defense, chosen)
        released = pipeline.release(device.image(at), rng)
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
    security: Mapping[str, str | bool],
) -> dict[str, Any]:
    """Time whole requests to a server: the columns of `cutlayer.trace.Trace`, without the first request."""
    # On the slowest networks a handshake takes many seconds, and a tensor keeps the line busy for longer than that.
    timeouts = Timeouts(connect_s=request_s, request_s=request_s, heartbeat_s=request_s)
    pipeline = Pipeline(device.head, device.defense, codec_named(codec), device.split.manifest.length)
    with closing(connect(address, timeouts, security=Security.from_json(security))) as transport:
        edge = Edge(device.split.manifest, pipeline, transport, timeouts)
        edge.infer(device.image(0), 0)
        traces = [edge.infer(device.image(i), 1 + i)[1] for i in _turns(samples, seconds, least)]
    return {name: values.tolist() for name, values in columns(traces).items()}


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "head": time_head, "local": time_local, "codec": time_codec, "requests": time_requests
}  # fmt: skip


def _timed(
    work: Callable[[NDArray[np.float32]], object], device: Device, samples: int, seconds: float, least: int
) -> dict[str, Any]:
    for index in range(WARMUP):
        work(device.image(index))
    taken: list[int] = []
    condition_before, joules_before, before = condition(), joules(), moment()
    for index in _turns(samples, seconds, least, min(seconds, STEADY_S)):
        image = device.image(index)
        start = time.monotonic_ns()
        work(image)
        taken.append(time.monotonic_ns() - start)
    clock_hz = own_clock_hz()
    contention, joules_after, condition_after = between(before, moment()), joules(), condition()
    spent = None
    if joules_before is not None and joules_after is not None and joules_after >= joules_before:
        spent = (joules_after - joules_before) / len(taken)
    quota = stopped(condition_before, condition_after)
    return {
        "ns": taken,
        **contention._asdict(),
        "peak_rss_bytes": peak_rss_bytes(),
        "joules": spent,
        "held_back": held_back(condition_before, condition_after),
        "quota": quota and quota._asdict(),
        "temperature_c": dump(condition_after.temperature_c),
        "clock_hz": dump(condition_after.clock_hz),
        "own_clock_hz": clock_hz,
    }


def _turns(samples: int, seconds: float, least: int, least_s: float = 0.0) -> Iterator[int]:
    """Indexes: `samples` of them, or those that fit into the time, but at least `least` and those of `least_s`."""
    start = time.monotonic()
    for index in count():
        passed_s = time.monotonic() - start
        enough = index >= max(samples, least) or (index >= least and passed_s > seconds)
        if enough and passed_s >= least_s:
            return
        yield index
