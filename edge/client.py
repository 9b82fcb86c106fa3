"""The device's end of split inference: release smashed data, request the logits, and time each stage."""

from __future__ import annotations

import itertools
import secrets
import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cutlayer.edge.exchange import Template, check_metadata, different_split, read_answer, template
from cutlayer.edge.pipeline import Pipeline
from cutlayer.errors import Refused
from cutlayer.models.manifest import Manifest, tail_name
from cutlayer.registry import DEFENSES
from cutlayer.trace import Trace
from cutlayer.wire.codecs.base import Parameter
from cutlayer.wire.handshake import metadata_request
from cutlayer.wire.message import PROTOCOL, Message, read_infer_request
from cutlayer.wire.template import completed
from cutlayer.wire.transport import Timeouts, Transport


class Outgoing(NamedTuple):
    """One batch that has been released and can be sent.

    Attributes:
        request_index: Index of the request in its session.
        request: The message, with its id.
        template: The template that reads the answer.
        start_ns: Time at which the release began.
        head_ns: Duration of the head.
        protect_ns: Duration of the defense.
        encode_ns: Duration of the codec and of writing the message.
    """

    request_index: int
    request: Message
    template: Template
    start_ns: int
    head_ns: int
    protect_ns: int
    encode_ns: int


class Edge:
    """A device that has completed the handshake with a server of the same split.

    Args:
        manifest: Manifest of the split folder on this device.
        pipeline: Pipeline from images to encoded smashed data.
        transport: Connection to the server; the caller closes it.
        timeouts: Time limits; `request_s` is the deadline of each request.
        greet: Whether to make the handshake now. If the server may be away, call `shake_hands` later.

    Raises:
        SplitError: The server holds another model, cut or version.
        WireError: The handshake failed.
    """

    def __init__(
        self,
        manifest: Manifest,
        pipeline: Pipeline,
        transport: Transport,
        timeouts: Timeouts | None = None,
        *,
        greet: bool = True,
    ) -> None:
        self._pipeline, self._transport, self._timeouts = pipeline, transport, timeouts or Timeouts()
        self._model, self._version, self._classes = tail_name(manifest), manifest.version, manifest.classes
        self._shape = manifest.smashed.shape
        self.session = secrets.token_hex(8)
        self._indexes = itertools.count()
        # Seeded once, by the system, so that each release has fresh draws.
        self._rng = np.random.default_rng()
        self._parameters: dict[str, Parameter] = {
            "protocol": PROTOCOL,
            "session": self.session,
            "defense": DEFENSES.label(str(manifest.defense.get("name", "none"))),
        }
        self._template: Template | None = None
        if greet:
            self.shake_hands()

    def request_id(self, index: int) -> str:
        """Return the id of the request with this index, as the tap records it."""
        return f"{self.session}-{index}"

    def infer(
        self, images: NDArray[np.float32], index: int | None = None, rng: np.random.Generator | None = None
    ) -> tuple[NDArray[Any], Trace]:
        """Make one request: ``(N, *input.shape)`` to logits ``(N, classes)``, which may be read-only.

        Args:
            images: One batch.
            index: Index of the request, unique within the session; counted from 0 if always left out.
            rng: Source of the defense's draws, for tests; seeded by the system if left out.

        Raises:
            WireError: No valid answer arrived. The next request can be made.
        """
        return self.ask(self.release(images, next(self._indexes) if index is None else index, rng))

    def release(self, images: NDArray[np.float32], index: int, rng: np.random.Generator | None = None) -> Outgoing:
        """Compute what leaves the device for one batch. See `infer`."""
        start = time.monotonic_ns()
        encoded, head_ns, protect_ns, encode_ns = self._pipeline.release(images, rng or self._rng)
        encoded_at = time.monotonic_ns()
        known = self._template
        if known is None or not known.fits(encoded):
            self._template = known = template(encoded, self._model, self._version, self._classes, self._parameters)
        request = completed(known.request, self.request_id(index), encoded.data)
        encode_ns += time.monotonic_ns() - encoded_at
        return Outgoing(index, request, known, start, head_ns, protect_ns, encode_ns)

    def ask(self, outgoing: Outgoing, timeout_s: float | None = None) -> tuple[NDArray[Any], Trace]:
        """Send a released batch and read the answer, within `timeout_s` or else `request_s`. See `infer`.

        The time since its release is unattributed.
        """
        index, request, known, start, head_ns, protect_ns, encode_ns = outgoing
        sent = time.monotonic_ns()
        reply = self._transport.request(request, timeout_s or self._timeouts.request_s)
        received = time.monotonic_ns()
        logits, (queue_ns, decode_ns, tail_ns, reply_ns) = known.read(reply, request)
        ended = time.monotonic_ns()

        return logits, Trace(
            index,
            known.logits[0],
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
            tensor_bytes=sum(map(len, request.tensors)),
            message_bytes=request.nbytes,
            answer_bytes=reply.nbytes,
        )

    def ask_again(self, request: Message) -> tuple[str, NDArray[Any]]:
        """Send a request that was released earlier, perhaps by another process; return its id and its logits.

        Raises:
            WireError: See `infer`.
        """
        inference = read_infer_request(request)
        reply = self._transport.request(request, self._timeouts.request_s)
        n_samples = inference.tensors["smashed"].shape[:1]
        logits, _ = read_answer(reply, inference.id, (*n_samples, self._classes))
        return inference.id, logits

    def shake_hands(self, timeout_s: float | None = None) -> None:
        """Check that the server holds this split, within `timeout_s` or else `request_s`. See `Edge` for the errors."""
        question = metadata_request(self._model, self._version)
        try:
            reply = self._transport.request(question, timeout_s or self._timeouts.request_s)
        except Refused as refused:
            if refused.code != "NOT_FOUND":
                raise
            raise different_split(str(refused)) from None
        check_metadata(reply, self._model, self._version, self._shape, (self._classes,))
