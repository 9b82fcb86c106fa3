"""The device's end of split inference: release, ask, and account for every nanosecond."""

from __future__ import annotations

import secrets
import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import Refused
from cutlayer.models.manifest import Manifest, tail_name
from cutlayer.trace import Trace
from cutlayer.wire.codecs.base import Parameter
from cutlayer.wire.handshake import metadata_request
from cutlayer.wire.message import PROTOCOL, Message, read_infer_request
from cutlayer.wire.template import completed
from cutlayer.wire.transport import Timeouts, Transport
from edge.exchange import check_metadata, different, read_whole
from edge.pipeline import Pipeline
from edge.prepared import Prepared, prepare


class Outgoing(NamedTuple):
    """One batch that has been released, and is ready to leave.

    Attributes:
        request_index: See `Trace`.
        request: What leaves, with its id.
        prepared: What the answer is read by.
        n_samples: In the batch.
        start_ns: When its release began.
        head_ns: See `Trace`, as all below.
        protect_ns: Of the defense.
        encode_ns: Of the codec, and of writing the message.
        tensor_bytes: Of the smashed data.
    """

    request_index: int
    request: Message
    prepared: Prepared
    n_samples: int
    start_ns: int
    head_ns: int
    protect_ns: int
    encode_ns: int
    tensor_bytes: int


class Edge:
    """A device that has shaken hands with a server of the same split.

    Args:
        manifest: Of the split folder on this device.
        pipeline: From images to what leaves.
        transport: To the server; the caller closes it.
        timeouts: `request_s` is the deadline of each request.
        greet: Shake hands now. A device whose server may be gone leaves that for later; see `shake_hands`.

    Raises:
        SplitError: The server holds another model, cut or version.
        WireError: No handshake came about.
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
        # Seeded by the system, and never again: each release has fresh draws.
        self._rng = np.random.default_rng()
        self._parameters: dict[str, Parameter] = {
            "protocol": PROTOCOL,
            "session": self.session,
            "defense": str(manifest.defense.get("name", "none")),
        }
        self._prepared: Prepared | None = None
        if greet:
            self.shake_hands()

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
        return self.ask(self.release(images, index, rng))

    def release(self, images: NDArray[np.float32], index: int, rng: np.random.Generator | None = None) -> Outgoing:
        """What leaves the device for one batch, ready to be sent. See `infer`."""
        start = time.monotonic_ns()
        released = self._pipeline.release(images, rng or self._rng)
        made = time.monotonic_ns()
        encoded, head_ns, protect_ns, encode_ns = released
        prepared = self._prepared
        if prepared is None or not prepared.fits(encoded):
            self._prepared = prepared = prepare(encoded, self._model, self._version, self._classes, self._parameters)
        request = completed(prepared.request, self.request_id(index), encoded.data)
        encode_ns += time.monotonic_ns() - made
        return Outgoing(index, request, prepared, len(images), start, head_ns, protect_ns, encode_ns, len(encoded.data))

    def ask(self, outgoing: Outgoing) -> tuple[NDArray[Any], Trace]:
        """Send what was released, and read the answer. See `infer`. Time since its release is unattributed."""
        _, request, prepared, n_samples, start, head_ns, protect_ns, encode_ns, tensor_bytes = outgoing
        sent = time.monotonic_ns()
        reply = self._transport.request(request, self._timeouts.request_s)
        received = time.monotonic_ns()
        logits, (queue_ns, decode_ns, tail_ns, reply_ns) = prepared.read(reply, request)
        ended = time.monotonic_ns()

        return logits, Trace(
            outgoing.request_index,
            n_samples,
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
            tensor_bytes=tensor_bytes,
            message_bytes=len(request.header) + tensor_bytes,
        )

    def ask_again(self, request: Message) -> tuple[str, NDArray[Any]]:
        """Send what was released earlier, perhaps by a process that is no more; its id and its logits.

        Raises:
            WireError: As for `infer`.
        """
        asked = read_infer_request(request)
        reply = self._transport.request(request, self._timeouts.request_s)
        n_samples = asked.tensors["smashed"].shape[:1]
        logits, _ = read_whole(reply, asked.id, (*n_samples, self._classes))
        return asked.id, logits

    def shake_hands(self, timeout_s: float | None = None) -> None:
        """Make sure that the server holds this split. See `Edge` for what it raises.

        Args:
            timeout_s: Until the answer; that of a request when left out.
        """
        asked = metadata_request(self._model, self._version)
        try:
            reply = self._transport.request(asked, timeout_s or self._timeouts.request_s)
        except Refused as refused:
            if refused.code != "NOT_FOUND":
                raise
            raise different(str(refused)) from None
        check_metadata(reply, self._model, self._version, self._shape, (self._classes,))
