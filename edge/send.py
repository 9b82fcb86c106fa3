"""The device's process: it sends images one by one, and measures each request."""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cutlayer.data.load import check_taken, open_data
from cutlayer.data.noise import RANDOM, load_inputs
from cutlayer.data.splits import NO_CLASS, Splits
from cutlayer.defenses.base import deployed
from cutlayer.edge.client import Edge
from cutlayer.edge.frames import Frame, Frames, Planned
from cutlayer.edge.offline.policy import OfflinePolicy
from cutlayer.edge.offline.replay import Offline, open_offline
from cutlayer.edge.pace import Pace
from cutlayer.edge.pipeline import Pipeline
from cutlayer.edge.requests import Answered as AnsweredRequest
from cutlayer.edge.requests import Recorder, Summary
from cutlayer.edge.said import Answered, Said, in_words
from cutlayer.errors import ConfigError, CutlayerError, SplitError, WireError, WriteError
from cutlayer.machine.compute import tune_allocator
from cutlayer.machine.files import check_writable
from cutlayer.machine.footprint import restart_peak_rss, sent_bytes
from cutlayer.split_folder import Runtime, SplitFolder, open_split
from cutlayer.stopping import last_words
from cutlayer.terminal import tell_lines
from cutlayer.wire.address import Address
from cutlayer.wire.codecs.packed import codec_named
from cutlayer.wire.connect import connect as connect_to
from cutlayer.wire.security import PLAIN, Security
from cutlayer.wire.transport import Timeouts

WARMUP = 20
"""Requests between the very first and those that count, where nothing else is asked for."""
COLLECT_EACH = 1000
"""Requests between two collections of garbage in a run without end."""


def send(
    folder: Path,
    connect: str,
    *,
    head: Runtime = "onnx",
    data: Splits | str | None = None,
    count: int | None = None,
    private: int = 0,
    releases: int = 1,
    warmup: int | None = None,
    codec: str = "raw",
    threads: int = 1,
    record: Path | None = None,
    security: Security = PLAIN,
    seed: int = 0,
    data_root: Path | None = None,
    timeouts: Timeouts | None = None,
    policy: OfflinePolicy | None = None,
    rate: float | None = None,
    loop: bool = False,
    camera: str | None = None,
    text: Sequence[str] | None = None,
) -> Summary:
    """Send images one by one: test images for time and accuracy, then private images for the attacks; or a camera's.

    Each request begins after the answer to the one before, or with `rate` at its time, whatever the one before took;
    if that took longer, it begins late, and its response time counts from the time at which it was due.

    Args:
        folder: A split folder; `split.json` and `head.onnx` are enough for an onnx head.
        connect: Address of the server.
        head: Runtime of the head.
        data: Images, or the name of a data set or the path of one's own (see `cutlayer.data.load.load`); the data set
            that the model was trained on if left out.
        count: Number of test images; 500, or all if there are fewer, if left out. Their times and answers are the
            result.
        private: Number of victims' images, sent after the test images.
        releases: Number of times that each private image is sent; all are sent once before any is repeated.
        warmup: Requests between the very first and those that count; both are recorded separately. 20 if left out;
            with `text` neither is sent then, for a tap is to hold nothing but what was said.
        codec: Name for `cutlayer.wire.codecs.packed.codec_named`, such as ``int8+zstd``.
        threads: Threads of the head.
        record: File (.npz) for the raw times and answers; see `cutlayer.edge.requests`.
        security: Files for encryption and authentication; plain text if left out.
        seed: Seed of the data splits.
        data_root: Folder of the data sets that are not embedded.
        timeouts: Time limits of the transport.
        policy: Policy for requests without a server; the run ends if left out. Requests that are answered later, or on
            the device, count in `Summary.offline` only.
        rate: Requests per second; each after the one before if left out.
        loop: Whether to begin again after the last image. Ctrl-C (KeyboardInterrupt) then ends the run as planned.
        camera: Number of a camera or path of a video, instead of a data set; see `cutlayer.edge.camera`.
        text: Sentences, or the lines of standard input where it is empty, instead of a data set: each is sent once, and
            what is answered is printed.

    Raises:
        ConfigError: An option is not possible, or an image is missing.
        SplitError: The folder is damaged, or the server holds another split.
        WireError: The connection was lost, or an answer came too late.
        QueueError: The queue is full or in use, or its disk is full.
        WriteError: The record or the queue cannot be written, found before the first request; or the disk has become
            full, and a note of the error has the summary.
        KeyboardInterrupt: See `loop`. After any of the errors, the record holds what was measured before, and a note of
            the error has the summary.
    """
    timeouts = timeouts or Timeouts()
    if record is not None:
        check_writable(record, "file")
    if policy is not None and policy.do == "queue":
        check_writable(policy.queue, "folder")
    split, pace = open_split(folder), Pace(rate)
    manifest = split.manifest
    frames = _frames(split, data, count, private, releases, seed, data_root, loop, camera, text)
    tell = None if text is None else in_words(split, seed, data_root)
    recorder = Recorder(pace.due or frames.due, endless=loop)
    with contextlib.ExitStack() as opened:
        opened.callback(frames.close)
        half = split.head(head, threads)
        defense = deployed(split)
        if defense.mends and policy is not None and policy.do == "queue":
            raise ConfigError(
                f"{defense!r} changes each answer by what the device did to the request, and a queue keeps requests "
                "alone; choose another policy for the time without a server."
            )
        pipeline = Pipeline(half, defense, codec_named(codec), manifest.length)

        # After the data set is read, because a tuned allocator keeps the memory that reading took.
        tune_allocator()
        restart_peak_rss()
        start_ns = time.monotonic_ns()
        transport = opened.enter_context(contextlib.closing(connect_to(connect, timeouts, security=security)))
        opened.enter_context(_no_garbage_collection())
        edge = Edge(manifest, pipeline, transport, timeouts, greet=policy is None)
        offline = None
        if policy is not None:
            offline = open_offline(policy, edge, split, timeouts, half, threads)
            opened.callback(offline.close, transport)
        n_uncounted = 0 if text is not None and warmup is None else 1 + (WARMUP if warmup is None else warmup)
        device = _Device(edge, offline, frames, pace, recorder, n_uncounted, tell)
        if record is not None:
            opened.push(functools.partial(_keep, device, record))
            opened.enter_context(last_words(functools.partial(recorder.save, record)))
        opened.enter_context(last_words(lambda: tell_lines(recorder.summary())))
        try:
            device.warm_up(start_ns)
            device.send_all(Address.parse(connect).port, collect_each=COLLECT_EACH if loop else 0)
        except (CutlayerError, KeyboardInterrupt) as error:
            if not (loop and isinstance(error, KeyboardInterrupt)):
                if recorder.n_answered:
                    error.add_note(f"{device.summary()}\n(until the run ended early)")
                raise
        return device.summary()


class _Device(NamedTuple):
    """One run: what is sent, when, through what, and the measurements. The first `n_uncounted` requests warm up.

    What `in_words` makes of an answer is printed; nothing where it is None.
    """

    edge: Edge
    offline: Offline | None
    frames: Frames
    pace: Pace
    recorder: Recorder
    n_uncounted: int
    in_words: Answered | None

    def warm_up(self, start_ns: int) -> None:
        """Make the requests that do not count, if the server is there."""
        edge, offline, recorder = self.edge, self.offline, self.recorder
        if not self.n_uncounted:
            return
        try:
            if offline is None or offline.reachable():
                image, wait_s = self.frames.example(), None if offline is None else offline.wait_s
                edge.ask(edge.release(image, 0), wait_s)
                recorder.first_request_ns = time.monotonic_ns() - start_ns
                for index in range(1, self.n_uncounted):
                    recorder.warmup.append(edge.ask(edge.release(image, index), wait_s)[1])
        except WireError as error:
            if offline is None:
                raise
            offline.lost(error)

    def send_all(self, port: int, collect_each: int) -> None:
        """Send the frames, each at its time. Collect garbage between requests now and then, if a run has no end."""
        frames, recorder, offline = self.frames, self.recorder, self.offline
        if offline is not None and not recorder.due:
            # Each request follows those before it, and these are the first. A frame that has a time does not wait.
            offline.flush()
        before = sent_bytes(port)
        self.pace.start()
        try:
            for number in itertools.count() if frames.total is None else range(frames.total):
                due_ns = self.pace.await_turn(number)
                if (frame := frames.take(number)) is None:
                    break
                self._send(frame, number, due_ns or frame.taken_ns)
                if collect_each and not number % collect_each:
                    gc.collect()
        finally:
            if offline is None or not offline.counts.queued:
                recorder.count_sent(before, sent_bytes(port))
        if offline is not None:
            offline.flush()

    def summary(self) -> Summary:
        """Return the measurements so far."""
        if self.offline is not None:
            self._collect(self.offline)
        counts = None if self.offline is None else self.offline.counts
        return self.recorder.summary(counts, self.frames.skipped, self.frames.note)

    def _send(self, frame: Frame, number: int, due_ns: int | None) -> None:
        index, offline = self.n_uncounted + number, self.offline
        began_ns = time.monotonic_ns()
        answer = self.edge.infer(frame.image, index) if offline is None else offline.infer(frame.image, index)
        response_ns = time.monotonic_ns() - (due_ns or began_ns)
        if due_ns is not None:
            self.recorder.behind_ns = max(self.recorder.behind_ns, began_ns - due_ns)
        if answer is not None:
            request_id = self.edge.request_id(index)
            said = None if self.in_words is None else frame.image[0]
            self.recorder.add(AnsweredRequest(frame.sent, request_id, frame.label, *answer, response_ns, said))
            if self.in_words is not None:
                tell_lines(self.in_words(frame, answer[0]))
        if offline is not None:
            self._collect(offline)

    def _collect(self, offline: Offline) -> None:
        """Take the late answers. Those to requests of an earlier run have another session, and no label here."""
        for request_id, logits in offline.collect().items():
            session, _, index = request_id.rpartition("-")
            if session == self.edge.session and (number := int(index) - self.n_uncounted) >= 0:
                self.recorder.add_late(logits, self.frames.label(number))


def _keep(device: _Device, record: Path, _kind: object, error: BaseException | None, _trace: object) -> None:
    """Write the record at the end of a run, of whatever kind the end is; what was measured is not lost in any case."""
    if not (device.recorder.first_request_ns or device.recorder.n_answered or device.offline):
        return
    try:
        device.recorder.save(record)
    except WriteError as unwritten:
        if error is None:
            unwritten.add_note(str(device.summary()))
            raise
        error.add_note(str(unwritten))


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Collect no garbage by itself: during a request it would add to the time of some stage."""
    collects = gc.isenabled()
    gc.disable()
    # What is there now is not looked at again by `gc.collect`, which is then short.
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        if collects:
            gc.enable()


def _frames(
    split: SplitFolder,
    data: Splits | str | None,
    count: int | None,
    private: int,
    releases: int,
    seed: int,
    root: Path | None,
    loop: bool,
    camera: str | None,
    text: Sequence[str] | None = None,
) -> Frames:
    if text is not None:
        if private or data is not None or camera is not None or loop or count is not None:
            raise ConfigError(
                "--text takes the place of a data set; leave out --data, --camera, --count, --loop and --private."
            )
        return Said(split, text)
    if camera is None:
        return Planned(_splits(data, split, root, seed), count, private, releases, loop=loop)
    if private or data is not None:
        raise ConfigError("--camera takes the place of a data set; leave out --data and --private.")
    from cutlayer.edge.camera import Camera

    return Camera(camera, split.manifest.input, count, loop=loop)


def _splits(data: Splits | str | None, split: SplitFolder, root: Path | None, seed: int) -> Splits:
    manifest = split.manifest
    if isinstance(data, Splits):
        splits = data
    else:
        name = data or manifest.data
        if name is None:
            raise ConfigError("The split folder names no data set; name one with --data.")
        if name == RANDOM:
            return load_inputs(manifest.data_inputs, seed)
        splits = open_data(name, root, seed, shape=manifest.input.shape, tokenizer=split.tokenizer)
    if len(manifest.data_inputs) > 1:
        raise SplitError(
            f"A request of this split is made of {', '.join(manifest.data_inputs)}, and {splits.name} has "
            f"{splits.modality.one[1]} alone; send random inputs with --data {RANDOM}, or your own through the Python "
            "interface."
        )
    check_taken(splits, manifest.input)
    if manifest.sequence and manifest.classes != len(splits.classes):
        # A vector, or the next token, is no class.
        test = replace(splits.test, labels=np.full(len(splits.test), NO_CLASS, np.int64))
        splits = replace(splits, test=test)
    return splits
