"""From a message to its answer: check, decode, compute, encode, and say how long each took."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cloud.tail import Tail
from cloud.tap import Tap
from cutlayer.errors import DecodeError, Refused, SplitError
from cutlayer.spec import Manifest
from cutlayer.wire.codecs.base import Encoded, as_bytes, decode
from cutlayer.wire.handshake import Metadata, metadata_reply, read_metadata_request
from cutlayer.wire.message import (
    PROTOCOL,
    Inference,
    Kind,
    Message,
    completed,
    infer_reply,
    read_infer_request,
    tail_name,
    timed,
    without_id,
)
from cutlayer.wire.transport import Caller, refusal

MAX_PREPARED = 256


class _Prepared(NamedTuple):
    """What is the same for all requests of a session: the tensor without its bytes, the reply without its own."""

    tensor: Encoded
    reply: Message


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
        # A hash over the manifest, computed anew at each look.
        self._version = manifest.version
        self._prepared: dict[bytes, _Prepared] = {}
        self._computing = threading.Lock()
        self._metadata = Metadata(
            name=tail_name(manifest),
            versions=(self._version,),
            inputs={"smashed": ("FP32", (-1, *manifest.smashed.shape))},
            outputs={"logits": ("FP32", (-1, manifest.classes))},
        )

    def submit(self, request: Message, arrived_ns: int, caller: Caller, *, lend: bool = False) -> None:
        """See `cutlayer.wire.transport.Handler`."""
        answer: Message | Refused
        try:
            answer = self.handle(request, arrived_ns)
        except Exception as error:
            answer = refusal(error)
        caller.answer(answer, lambda: self.replied(request))

    def handle(self, request: Message, arrived_ns: int) -> Message:
        """The answer to a request. Raises the reason to refuse it."""
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
        prepared, request_id = self._read(message)
        smashed = self._smashed(prepared.tensor._replace(data=message.tensors[0]))
        decoded_ns = self._clock()
        logits = self._tail(smashed)
        computed_ns = self._clock()
        if logits.shape != (len(smashed), self._manifest.classes):
            raise SplitError(f"The tail gave {logits.shape} for smashed data of shape {smashed.shape}.")
        reply = timed(
            completed(prepared.reply, request_id, as_bytes(logits)[1]),
            queue_ns=started_ns - arrived_ns,
            decode_ns=decoded_ns - started_ns,
            tail_ns=computed_ns - decoded_ns,
        )
        return timed(reply, reply_ns=self._clock() - computed_ns)

    def _read(self, message: Message) -> tuple[_Prepared, str]:
        """What the request has in common with the others of its session, checked, and its id."""
        ended = without_id(message)
        if ended and ended[0].header in self._prepared and len(message.tensors) == 1:
            return self._prepared[ended[0].header], ended[1]
        request = read_infer_request(message)
        prepared = self._prepare(request)
        if ended and _is_request(ended[0], request._replace(id="")):
            if len(self._prepared) == MAX_PREPARED:
                self._prepared.clear()
            self._prepared[ended[0].header] = prepared
        return prepared, request.id

    def _prepare(self, request: Inference) -> _Prepared:
        self._check(request.model, (request.version,) if request.version else ())
        protocol = request.parameters.get("protocol", PROTOCOL)
        if protocol != PROTOCOL:
            raise DecodeError(f"This server speaks version {PROTOCOL} of the protocol, not {protocol!r:.20}.")
        if list(request.tensors) != ["smashed"]:
            raise DecodeError(f"Send one tensor, smashed, not {', '.join(request.tensors)!r:.80}.")
        tensor = request.tensors["smashed"]._replace(data=b"")
        logits = Encoded("FP32", (*tensor.shape[:1], self._manifest.classes), b"", {"codec": "raw"})
        return _Prepared(tensor, infer_reply(Inference(request.model, self._version, "", {"logits": logits})))

    def _check(self, model: str, versions: tuple[str, ...]) -> None:
        """Refuse a request for another split. One that names no version, as other clients do, takes what is here."""
        here = self._metadata
        if model != here.name or not set(versions) <= set(here.versions):
            asked = " ".join((model, *versions))
            raise Refused("NOT_FOUND", f"This server holds {here.name} {here.versions[0]}, not {asked:.80}.")

    def _smashed(self, tensor: Encoded) -> NDArray[np.float32]:
        """The array, once it is what the tail takes."""
        smashed, expected = decode(tensor), self._manifest.smashed
        if smashed.dtype != expected.dtype or smashed.shape[1:] != expected.shape or not smashed.size:
            raise DecodeError(
                f"Send {expected.dtype} of shape Nx{expected}, not {smashed.dtype} of shape {smashed.shape}."
            )
        return smashed


def _is_request(message: Message, request: Inference) -> bool:
    """Whether a message without its last bytes is that request, so that these bytes were an id."""
    with contextlib.suppress(DecodeError):
        return read_infer_request(message) == request
    return False
