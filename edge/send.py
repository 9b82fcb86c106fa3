"""The device's process: send the test images for time and accuracy, then the private ones for the attacks."""

from __future__ import annotations

import gc
import time
from pathlib import Path

from cutlayer.data.load import load
from cutlayer.data.splits import Dataset, Splits
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
from defenses.base import deployed
from edge.client import Edge
from edge.offline.policy import WhenOffline
from edge.offline.replay import open_offline
from edge.pipeline import Pipeline
from edge.requests import Recorder, Sent, Summary


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
    when_offline: WhenOffline | None = None,
) -> Summary:
    """Send images one by one, each after the answer to the one before.

    Args:
        folder: A split folder; `split.json` and `head.onnx` are enough for an onnx head.
        connect: Address of the server.
        head: Runtime of the head.
        data: Images, or the name of a data set; the one that the model was trained on when left out.
        count: Test images. Their times and answers are the result.
        private: Victims' images, sent after those.
        releases: How often each private image is sent: all of them once, then all of them again.
        warmup: Requests before the first that counts, recorded apart, as is the very first request.
        codec: As `cutlayer.wire.codecs.packed.codec_named` reads it: ``int8+zstd``.
        threads: Of the head.
        record: File (.npz) for the raw times and answers; see `edge.requests`.
        security: Files for encryption and authentication; plain text if left out.
        seed: Of the data splits.
        data_root: Where data sets that are not embedded lie.
        timeouts: Of the transport.
        when_offline: What to do while the server is gone; the run ends when left out. What is answered later, or here,
            counts in `Summary.absence` and nowhere else.

    Raises:
        SplitError: The folder is damaged, or the server holds another split.
        WireError: The server went away or did not answer in time. What had been measured is in the record.
        QueueError: The queue is full or in use, or its disk is full.
    """
    timeouts = timeouts or Timeouts()
    split = open_split(folder)
    manifest = split.manifest
    splits = _splits(data, manifest, data_root, seed)
    plan = _plan(splits, count, private, releases)
    run = split.head(head, threads)
    pipeline = Pipeline(run, deployed(split), codec_named(codec))
    port, recorder = Address.parse(connect).port, Recorder()

    # Not before the data set is read: a tuned allocator keeps what that took.
    tune_allocator()
    restart_peak_rss()
    start_ns = time.monotonic_ns()
    transport = connect_to(connect, timeouts, security=security)
    # A collection in the middle of a request would be booked on whatever stage it falls in.
    collects = gc.isenabled()
    gc.disable()
    offline = None
    try:
        edge = Edge(manifest, pipeline, transport, timeouts, greet=when_offline is None)
        if when_offline is not None:
            offline = open_offline(when_offline, edge, split, timeouts, run, threads)
        infer = offline.infer if offline is not None else edge.infer
        try:
            if offline is None or offline.lookout.reachable():
                image = splits.test.inputs[:1]
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
            answer = infer(part.inputs[sent.image : sent.image + 1], index)
            if answer is not None:
                recorder.add(sent, edge.request_id(index), int(part.labels[sent.image]), *answer)
        recorder.count_sent(before, sent_bytes(port))
        if offline is not None:
            offline.finish()
            for index, (part, sent) in enumerate(plan, 1 + warmup):
                logits = offline.late.get(edge.request_id(index))
                if logits is not None and part is splits.test:
                    offline.absence.n_late += 1
                    offline.absence.n_correct += int(logits[0].argmax()) == int(part.labels[sent.image])
    finally:
        if collects:
            gc.enable()
        transport.close()
        if offline is not None:
            offline.close()
        if record is not None and (recorder.first_request_ns or offline is not None):
            recorder.save(record)
    return recorder.summary(None if offline is None else offline.absence)


def _splits(data: Splits | str | None, manifest: Manifest, root: Path | None, seed: int) -> Splits:
    if isinstance(data, Splits):
        splits = data
    else:
        name = data or manifest.data
        if name is None:
            raise ConfigError("The split folder names no data set; say which images to send with --data.")
        splits = load(name, root, seed)
    if splits.input.shape != manifest.input.shape:
        raise SplitError(f"The images of {splits.name} are {splits.input}, and the head takes {manifest.input}.")
    return splits


def _plan(splits: Splits, count: int, private: int, releases: int) -> list[tuple[Dataset, Sent]]:
    """What to send, in order: the test images, then the private ones release by release."""
    for name, wanted, there in (("test", count, len(splits.test)), ("private", private, len(splits.private))):
        if wanted > there:
            raise ConfigError(f"{splits.name} has {there:,} {name} images, not {wanted:,}.")
    timed = [(splits.test, Sent(0, image, 0)) for image in range(count)]
    return timed + [
        (splits.private, Sent(1, image, release)) for release in range(releases) for image in range(private)
    ]
