"""The device's process: it sends test images for time and accuracy, then private images for the attacks."""

from __future__ import annotations

import gc
import time
from pathlib import Path

from cutlayer.data.load import open_data
from cutlayer.data.splits import Dataset, Splits, unreadable
from cutlayer.defenses.base import deployed
from cutlayer.edge.client import Edge
from cutlayer.edge.offline.policy import OfflinePolicy
from cutlayer.edge.offline.replay import open_offline
from cutlayer.edge.pipeline import Pipeline
from cutlayer.edge.requests import Answered, Recorder, Sent, Summary
from cutlayer.errors import ConfigError, SplitError, WireError
from cutlayer.machine.compute import tune_allocator
from cutlayer.machine.footprint import restart_peak_rss, sent_bytes
from cutlayer.models.manifest import Manifest
from cutlayer.split_folder import Runtime, open_split
from cutlayer.wire.address import Address
from cutlayer.wire.codecs.packed import codec_named
from cutlayer.wire.connect import connect as connect_to
from cutlayer.wire.security import PLAIN, Security
from cutlayer.wire.transport import Timeouts


def send(
    folder: Path,
    connect: str,
    *,
    head: Runtime = "onnx",
    data: Splits | str | None = None,
    count: int = 500,
    private: int = 0,
    releases: int = 1,
    warmup: int = 20,
    codec: str = "raw",
    threads: int = 1,
    record: Path | None = None,
    security: Security = PLAIN,
    seed: int = 0,
    data_root: Path | None = None,
    timeouts: Timeouts | None = None,
    policy: OfflinePolicy | None = None,
) -> Summary:
    """Send images one by one, each after the answer to the one before.

    Args:
        folder: A split folder; `split.json` and `head.onnx` are enough for an onnx head.
        connect: Address of the server.
        head: Runtime of the head.
        data: Images, or the name of a data set; the data set that the model was trained on if left out.
        count: Number of test images. Their times and answers are the result.
        private: Number of victims' images, sent after the test images.
        releases: Number of times that each private image is sent; all are sent once before any is repeated.
        warmup: Requests between the very first and those that count; both are recorded separately.
        codec: Name for `cutlayer.wire.codecs.packed.codec_named`, such as ``int8+zstd``.
        threads: Threads of the head.
        record: File (.npz) for the raw times and answers; see `cutlayer.edge.requests`.
        security: Files for encryption and authentication; plain text if left out.
        seed: Seed of the data splits.
        data_root: Folder of the data sets that are not embedded.
        timeouts: Time limits of the transport.
        policy: Policy for requests without a server; the run ends if left out. Requests that are answered later, or on
            the device, count in `Summary.offline` only.

    Raises:
        SplitError: The folder is damaged, or the server holds another split.
        WireError: The connection was lost, or an answer came too late. The record holds what was measured before.
        QueueError: The queue is full or in use, or its disk is full.
    """
    timeouts = timeouts or Timeouts()
    split = open_split(folder)
    manifest = split.manifest
    splits = _splits(data, manifest, data_root, seed)
    test, plan, note = _plan(splits, count, private, releases)
    half = split.head(head, threads)
    pipeline = Pipeline(half, deployed(split), codec_named(codec))
    port, recorder = Address.parse(connect).port, Recorder()

    # After the data set is read, because a tuned allocator keeps the memory that reading took.
    tune_allocator()
    restart_peak_rss()
    start_ns = time.monotonic_ns()
    transport = connect_to(connect, timeouts, security=security)
    # A garbage collection during a request would add to the time of some stage.
    collects = gc.isenabled()
    gc.disable()
    offline = None
    try:
        edge = Edge(manifest, pipeline, transport, timeouts, greet=policy is None)
        if policy is not None:
            offline = open_offline(policy, edge, split, timeouts, half, threads)
        infer = offline.infer if offline is not None else edge.infer
        try:
            if offline is None or offline.lookout.reachable():
                image = test.one(0)
                edge.infer(image, 0)
                recorder.first_request_ns = time.monotonic_ns() - start_ns
                recorder.warmup = [edge.infer(image, index)[1] for index in range(1, 1 + warmup)]
        except WireError as error:
            if offline is None:
                raise
            offline.lookout.lost(error)
        if offline is not None:
            offline.replay()
        before = sent_bytes(port)
        for index, (part, sent) in enumerate(plan, 1 + warmup):
            answer = infer(part.one(sent.image), index)
            if answer is not None:
                label = int(part.labels[sent.image])
                recorder.answered.append(Answered(sent, edge.request_id(index), label, *answer))
        recorder.count_sent(before, sent_bytes(port))
        if offline is not None:
            offline.finish()
            for index, (part, sent) in enumerate(plan, 1 + warmup):
                logits = offline.late.get(edge.request_id(index))
                if logits is not None and part is test:
                    offline.counts.n_late += 1
                    offline.counts.n_correct += int(logits[0].argmax()) == int(part.labels[sent.image])
    finally:
        if collects:
            gc.enable()
        transport.close()
        if offline is not None:
            offline.close()
        if record is not None and (recorder.first_request_ns or offline is not None):
            recorder.save(record)
    return recorder.summary(None if offline is None else offline.counts, note)


def _splits(data: Splits | str | None, manifest: Manifest, root: Path | None, seed: int) -> Splits:
    if isinstance(data, Splits):
        splits = data
    else:
        name = data or manifest.data
        if name is None:
            raise ConfigError("The split folder names no data set; name one with --data.")
        splits = open_data(name, root, seed)
    if splits.input.shape != manifest.input.shape:
        raise SplitError(
            f"The images of {splits.name} are {splits.input}, but the head takes {manifest.input}; choose another "
            "data set with --data."
        )
    return splits


def _plan(splits: Splits, count: int, private: int, releases: int) -> tuple[Dataset, list[tuple[Dataset, Sent]], str]:
    """The test images, what to send in order (all of them, then all private ones once per release), and what to say."""
    test, victims, faults = splits.test, splits.private, list[str]()
    for name, wanted in (("test", count), ("private", private)):
        part, found = splits.parts[name].first_readable(max(wanted, 1))
        if wanted > len(part):
            raise ConfigError(f"{splits.name} has only {len(part):,} {name} images; {wanted:,} were asked for.")
        faults += found
        test, victims = (part, victims) if name == "test" else (test, part)
    plan = [(test, Sent(0, image, 0)) for image in range(count)]
    plan += [(victims, Sent(1, image, release)) for release in range(releases) for image in range(private)]
    return test, plan, unreadable(faults) if faults else ""
