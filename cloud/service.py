"""From a message to its answer: check, decode, compute, encode, and say how long each took."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cloud.tail import Tail
from cloud.tap import Tap
from cutlayer.errors import DecodeError, Refused
from cutlayer.spec import Manifest
from cutlayer.wire.codecs.base import decode
from cutlayer.wire.codecs.raw import Raw
from cutlayer.wire.message import (
    PROTOCOL,
    Inference,
    Kind,
    Message,
    Metadata,
    infer_reply,
    metadata_reply,
    read_infer_request,
    read_metadata_request,
    tail_name,
    with_parameter,
)


class Service:
    """One tail that answers requests, one at a time, whatever transport they come by.

    Args:
        manifest: Of the split that the tail belongs to.
        tail: From smashed data to logits.
        tap: Keeps what arrives; the caller closes it.
        clock: Monotonic, in nanoseconds; the one that the transport stamps arrivals with.
    """

    def __init__(
        self, manifest: Manifest, tail: Tail, tap: Tap | None = None, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._manifest, self._tail, self._tap, self._clock = manifest, tail, tap, clock
        self._codec = Raw()
        self._computing = threading.Lock()
        self._metadata = Metadata(
            name=tail_name(manifest),
            versions=(manifest.version,),
            inputs={"smashed": ("FP32", (-1, *manifest.smashed.shape))},
            outputs={"logits": ("FP32", (-1, manifest.classes))},
        )

    def handle(self, request: Message, arrived_ns: int) -> Message:
        """See `cutlayer.wire.transport.Handler`."""
        if request.kind is Kind.METADATA:
            asked = read_metadata_request(request)
            self._check(asked.name, asked.versions)
            return metadata_reply(self._metadata)
        if request.kind is Kind.INFER:
            with self._computing:
                return self._infer(request, arrived_ns)
        raise DecodeError(f"A server answers no messages of kind {request.kind.name}.")

    def replied(self, request: Message) -> None:
        """Hand the request to the tap, now that nobody waits."""
        if self._tap is not None:
            self._tap.record(request)

    def _infer(self, message: Message, arrived_ns: int) -> Message:
        started_ns = self._clock()
        request = read_infer_request(message)
        self._check(request.model, (request.version,) if request.version else ())
        smashed = self._smashed(request)
        decoded_ns = self._clock()
        logits = self._tail(smashed)
        computed_ns = self._clock()
        durations = {
            "queue_ns": started_ns - arrived_ns,
            "decode_ns": decoded_ns - started_ns,
            "tail_ns": computed_ns - decoded_ns,
        }
        tensors = {"logits": self._codec.encode(logits)}
        reply = infer_reply(Inference(request.model, self._manifest.version, request.id, tensors, durations))
        return with_parameter(reply, "reply_ns", self._clock() - computed_ns)

    def _check(self, model: str, versions: tuple[str, ...]) -> None:
        """Refuse a request for another split. One that names no version, as other clients do, takes what is here."""
        here = self._metadata
        if model != here.name or not set(versions) <= set(here.versions):
            asked = " ".join((model, *versions))
            raise Refused("NOT_FOUND", f"This server holds {here.name} {here.versions[0]}, not {asked:.80}.")

    def _smashed(self, request: Inference) -> NDArray[np.float32]:
        """The one tensor of the request, once it is what the tail takes."""
        protocol = request.parameters.get("protocol", PROTOCOL)
        if protocol != PROTOCOL:
            raise DecodeError(f"This server speaks version {PROTOCOL} of the protocol, not {protocol!r:.20}.")
        if list(request.tensors) != ["smashed"]:
            raise DecodeError(f"Send one tensor, smashed, not {', '.join(request.tensors)!r:.80}.")
        smashed = decode(request.tensors["smashed"])
        expected = self._manifest.smashed
        if smashed.dtype != expected.dtype or smashed.shape[1:] != expected.shape or not smashed.size:
            raise DecodeError(
                f"Send {expected.dtype} of shape Nx{expected}, not {smashed.dtype} of shape {smashed.shape}."
            )
        return smashed
