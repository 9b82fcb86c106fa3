"""The device's end of split inference: release, ask, and account for every nanosecond."""

from __future__ import annotations

import secrets
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import DecodeError, Refused, SplitError
from cutlayer.spec import Manifest
from cutlayer.trace import Trace
from cutlayer.wire.codecs.base import Parameter, decode
from cutlayer.wire.message import (
    PROTOCOL,
    Inference,
    infer_request,
    metadata_request,
    read_infer_reply,
    read_metadata_reply,
    tail_name,
)
from cutlayer.wire.transport import Timeouts, Transport
from edge.pipeline import Pipeline


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
        self._model, self._version = tail_name(manifest), manifest.version
        self.session = secrets.token_hex(8)
        # Seeded by the system, and never again: each release has fresh draws.
        self._rng = np.random.default_rng()
        self._parameters: dict[str, Parameter] = {
            "protocol": PROTOCOL,
            "session": self.session,
            "defense": str(manifest.defense.get("name", "none")),
        }
        self._shake_hands()

    def request_id(self, index: int) -> str:
        """The id of this session's request of that index, as the tap records it."""
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
        request = infer_request(
            Inference(
                self._model, self._version, self.request_id(index), {"smashed": released.encoded}, self._parameters
            )
        )
        sent = time.monotonic_ns()
        message = self._transport.request(request, self._timeouts.request_s)
        received = time.monotonic_ns()
        reply = read_infer_reply(message)
        if reply.id != self.request_id(index) or list(reply.tensors) != ["logits"]:
            raise DecodeError(f"The server answered {reply.id!r:.40}, not {self.request_id(index)!r}.")
        logits = decode(reply.tensors["logits"])
        queue_ns, decode_ns, tail_ns, reply_ns = (
            int(reply.parameters.get(name, 0)) for name in ("queue_ns", "decode_ns", "tail_ns", "reply_ns")
        )
        encode_ns = released.encode_ns + sent - made
        end_to_end_ns = time.monotonic_ns() - start
        at_edge_ns = released.head_ns + released.protect_ns + encode_ns
        trace = Trace(
            request_index=index,
            n_samples=len(images),
            head_ns=released.head_ns,
            protect_ns=released.protect_ns,
            encode_ns=encode_ns,
            network_ns=received - sent - queue_ns - decode_ns - tail_ns - reply_ns,
            queue_ns=queue_ns,
            decode_ns=decode_ns,
            tail_ns=tail_ns,
            reply_ns=reply_ns,
            unattributed_ns=end_to_end_ns - at_edge_ns - (received - sent),
            end_to_end_ns=end_to_end_ns,
            tensor_bytes=len(released.encoded.data),
            message_bytes=request.nbytes,
        )
        return logits, trace

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
