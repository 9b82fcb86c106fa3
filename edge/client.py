"""The device's end of split inference: release, ask, and account for every nanosecond."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import DecodeError, Refused, SplitError
from cutlayer.spec import Manifest
from cutlayer.trace import Trace
from cutlayer.wire.codecs.base import Buffer, Encoded, Parameter, decode, decoder
from cutlayer.wire.handshake import metadata_request, read_metadata_reply
from cutlayer.wire.message import PROTOCOL, Inference, Message, infer_reply, infer_request, read_infer_reply, tail_name
from cutlayer.wire.prepared import DURATIONS, MOST_NS, completed, read_timed
from cutlayer.wire.transport import Timeouts, Transport
from edge.pipeline import Pipeline

Durations = tuple[int, int, int, int]


class _Prepared(NamedTuple):
    """What is the same for all requests with smashed data of one shape."""

    smashed: Encoded
    request: Message
    logits: tuple[int, ...]
    reply: Message
    decode_logits: Callable[[Buffer], NDArray[Any]]


class Edge:
    """A device that has shaken hands with a server of the same split.

    Args:
        manifest: Of the split folder on this device.
        pipeline: From images to what leaves.
        transport: To the server; the caller closes it.
        timeouts: `request_s` is the deadline of each request.

    Raises:
        SplitError: The server holds another model, cut or version.
        WireError: No handshake came about.
    """

    def __init__(
        self, manifest: Manifest, pipeline: Pipeline, transport: Transport, timeouts: Timeouts | None = None
    ) -> None:
        self._pipeline, self._transport, self._timeouts = pipeline, transport, timeouts or Timeouts()
        self._model, self._version, self._classes = tail_name(manifest), manifest.version, manifest.classes
        self._shape = manifest.smashed.shape
        self.session = secrets.token_hex(8)
        # Seeded by the system, and never again: each release has fresh draws.
        self._rng = np.random.default_rng()
        self._parameters: dict[str, Parameter] = {
            "protocol": PROTOCOL,
            "session": self.session,
            "defense": str(manifest.defense.get("name", "none")),
        }
        self._prepared: _Prepared | None = None
        self._shake_hands()

    def request_id(self, index: int) -> str:
        """The id of the request of that index within the session, as the tap records it."""
        return f"{self.session}-{index}"

    def infer(
        self, images: NDArray[np.float32], index: int, rng: np.random.Generator | None = None
    ) -> tuple[NDArray[Any], Trace]:
        """One request: ``(N, C, H, W)`` in [0, 1] to logits ``(N, classes)``, which may be read-only.

        Args:
            images: One batch.
            index: Of the request, different for each of a session.
            rng: Source of the defense's draws, for tests; fresh ones of the system when left out.

        Raises:
            WireError: There is no answer, or not to this request. The next request may be made all the same.
        """
        start = time.monotonic_ns()
        released = self._pipeline.release(images, rng or self._rng)
        made = time.monotonic_ns()
        encoded, head_ns, protect_ns, encode_ns = released
        prepared = self._prepare(encoded)
        request = completed(prepared.request, self.request_id(index), encoded.data)
        sent = time.monotonic_ns()
        reply = self._transport.request(request, self._timeouts.request_s)
        received = time.monotonic_ns()
        logits, (queue_ns, decode_ns, tail_ns, reply_ns) = self._read(reply, prepared, request)
        ended = time.monotonic_ns()

        encode_ns += sent - made
        return logits, Trace(
            index,
            len(images),
            head_ns,
            protect_ns,
            encode_ns,
            network_ns=received - sent - queue_ns - decode_ns - tail_ns - reply_ns,
            queue_ns=queue_ns,
            decode_ns=decode_ns,
            tail_ns=tail_ns,
            reply_ns=reply_ns,
            unattributed_ns=ended - start - head_ns - protect_ns - encode_ns - (received - sent),
            end_to_end_ns=ended - start,
            tensor_bytes=len(encoded.data),
            message_bytes=len(request.header) + len(encoded.data),
        )

    def _prepare(self, encoded: Encoded) -> _Prepared:
        """All of request and reply but what changes from one to the next."""
        prepared = self._prepared
        if prepared is not None:
            known = prepared.smashed
            if (
                encoded.shape == known.shape
                and encoded.datatype == known.datatype
                and encoded.parameters == known.parameters
            ):
                return prepared
        smashed = encoded._replace(data=b"")
        request = Inference(self._model, self._version, "", {"smashed": smashed}, self._parameters)
        logits = Encoded("FP32", (*encoded.shape[:1], self._classes), b"", {"codec": "raw"})
        reply = Inference(self._model, self._version, "", {"logits": logits})
        self._prepared = prepared = _Prepared(
            smashed, infer_request(request), logits.shape, infer_reply(reply), decoder(logits)
        )
        return prepared

    def _read(self, message: Message, prepared: _Prepared, request: Message) -> tuple[NDArray[Any], Durations]:
        """Logits and the server's durations."""
        ending = request.header[len(prepared.request.header) :]
        durations = read_timed(message.header, prepared.reply.header + ending)
        if durations is not None and len(message.tensors) == 1:
            return prepared.decode_logits(message.tensors[0]), durations
        reply, request_id = read_infer_reply(message), ending[2:].decode()
        if reply.id != request_id or list(reply.tensors) != ["logits"]:
            raise DecodeError(f"The server answered {reply.id!r:.40}, not {request_id!r}.")
        logits = reply.tensors["logits"]
        if logits.shape != prepared.logits:
            raise DecodeError(f"The server answered logits of shape {logits.shape}, not {prepared.logits}.")
        queue_ns, decode_ns, tail_ns, reply_ns = (_duration(reply.parameters.get(name, 0)) for name in DURATIONS)
        return decode(logits), (queue_ns, decode_ns, tail_ns, reply_ns)

    def _shake_hands(self) -> None:
        try:
            reply = self._transport.request(metadata_request(self._model, self._version), self._timeouts.request_s)
        except Refused as refused:
            if refused.code != "NOT_FOUND":
                raise
            raise SplitError(f"The two sides hold different splits; copy one folder to both. {refused}") from None
        held = read_metadata_reply(reply)
        if held.name != self._model or self._version not in held.versions:
            raise SplitError(
                f"The two sides hold different splits; copy one folder to both. "
                f"The server holds {held.name} {', '.join(held.versions)}, not {self._model} {self._version}."
            )
        _check_shapes("takes", held.inputs, self._shape)
        _check_shapes("gives", held.outputs, (self._classes,))


def _check_shapes(verb: str, tensors: Mapping[str, tuple[str, tuple[int, ...]]], expected: tuple[int, ...]) -> None:
    """Refuse a server whose model has other tensors, as one that knows no versions of ours may."""
    for datatype, shape in tensors.values():
        fits = len(shape) == 1 + len(expected) and all(
            size in (-1, wanted) for size, wanted in zip(shape[1:], expected, strict=True)
        )
        if datatype != "FP32" or not fits:
            here = "x".join(map(str, expected))
            raise SplitError(
                f"The server's model {verb} {datatype} of shape {'x'.join(map(str, shape))}, this split's tail {verb} "
                f"FP32 of shape Nx{here}."
            )


def _duration(value: Parameter) -> int:
    if isinstance(value, (bool, str)) or not 0 <= value < MOST_NS:
        raise DecodeError(f"{value!r:.40} is no duration.")
    return int(value)
