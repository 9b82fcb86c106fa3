"""The device's end of split inference: release smashed data, request the logits, and time each stage."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cutlayer.edge.exchange import Template, check_metadata, different_split, read_answer, template, with_batch
from cutlayer.edge.inputs import contract
from cutlayer.edge.pipeline import Pipeline
from cutlayer.edge.state import State
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
        kept: What the head gave beside the smashed data, or None.
        mend: What the defense does to the answer, or None.
    """

    request_index: int
    request: Message
    template: Template
    start_ns: int
    head_ns: int
    protect_ns: int
    encode_ns: int
    kept: NDArray[Any] | None = None
    mend: Callable[[NDArray[Any]], NDArray[Any]] | None = None


class Edge:
    """A device that has completed the handshake with a server of the same split.

    Args:
        manifest: Manifest of the split folder on this device.
        pipeline: Pipeline from images to encoded smashed data.
        transport: Connection to the server; the caller closes it.
        timeouts: Time limits; `request_s` is the deadline of each request.
        greet: Whether to make the handshake now. If the server may be away, call `shake_hands` later.
        session: Name of this device's requests; a random one if left out.

    Attributes:
        session: Name of this device's requests.
        checked: Checks a batch and gives it in the types that the head takes; see `cutlayer.edge.inputs.contract`.

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
        session: str | None = None,
    ) -> None:
        self._pipeline, self._transport, self._timeouts = pipeline, transport, timeouts or Timeouts()
        self._manifest, self._model, self._version = manifest, tail_name(manifest), manifest.version
        self.checked = contract(manifest)
        self._state = State(manifest)
        self.session = session or secrets.token_hex(8)
        self._indexes = itertools.count()
        # Seeded once, by the system, so that each release has fresh draws.
        self._rng = np.random.default_rng()
        self._parameters: dict[str, Parameter] = {
            "protocol": PROTOCOL,
            "session": self.session,
            # Proves to the server that a repeated request has the same sender: others may learn a session's name.
            "secret": secrets.token_hex(16),
            "defense": DEFENSES.label(str(manifest.defense.get("name", "none"))),
        }
        self._template: Template | None = None
        if greet:
            self.shake_hands()

    def request_id(self, index: int) -> str:
        """Return the id of the request with this index, as the tap records it."""
        return f"{self.session}-{index}"

    def switch(self, pipeline: Pipeline, defense: str) -> None:
        """Use another pipeline from the next request on, which states its defense with these words."""
        self._pipeline, self._template = pipeline, None
        self._parameters = {**self._parameters, "defense": defense}

    def infer(
        self, images: NDArray[np.float32], index: int | None = None, rng: np.random.Generator | None = None
    ) -> tuple[NDArray[Any], Trace]:
        """Make one request: ``(N, *input.shape)`` to logits ``(N, classes)``, which may be read-only.

        A split with `Ends` takes a batch joined by `cutlayer.tensors.join`, if it takes several tensors, and gives all
        outputs of the model joined, by name. The state of the request before goes with it.

        Args:
            images: One batch, as `cutlayer.edge.inputs.contract` says.
            index: Index of the request, unique within the session; counted from 0 if always left out.
            rng: Source of the defense's draws, for tests; seeded by the system if left out.

        Raises:
            DataError: The head does not take such a batch. Nothing was sent.
            WireError: No valid answer arrived. The next request can be made.
        """
        return self.ask(self.release(images, next(self._indexes) if index is None else index, rng))

    def release(self, images: NDArray[np.float32], index: int, rng: np.random.Generator | None = None) -> Outgoing:
        """Compute what leaves the device for one batch. See `infer`."""
        start = time.monotonic_ns()
        inputs = self._state.joined_to(self.checked(images))
        encoded, head_ns, protect_ns, encode_ns, kept, mend = self._pipeline.release(inputs, rng or self._rng)
        encoded_at = time.monotonic_ns()
        self._state.take(kept)
        known = self._template
        if known is None or not known.fits(encoded):
            beside = self._manifest.beside
            self._template = known = template(encoded, beside, self._manifest, self._version, self._parameters)
        request = completed(known.request, self.request_id(index), encoded.data, *self._state.beside(inputs))
        encode_ns += time.monotonic_ns() - encoded_at
        return Outgoing(index, request, known, start, head_ns, protect_ns, encode_ns, kept, mend)

    def ask(self, outgoing: Outgoing, timeout_s: float | None = None) -> tuple[NDArray[Any], Trace]:
        """Send a released batch and read the answer, within `timeout_s` or else `request_s`. See `infer`.

        The time since its release is unattributed.
        """
        index, request, known, start, head_ns, protect_ns, encode_ns, kept, mend = outgoing
        sent = time.monotonic_ns()
        reply = self._transport.request(request, timeout_s or self._timeouts.request_s)
        received = time.monotonic_ns()
        logits, (queue_ns, decode_ns, tail_ns, reply_ns) = known.read(reply, request)
        self._state.take(logits)
        if mend is not None:
            logits = mend(logits)
        ended = time.monotonic_ns()

        return self._state.all_outputs(logits, kept), Trace(
            index,
            known.smashed.shape[0],
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
        answers = with_batch(self._manifest.answers, inference.tensors["smashed"].shape[0])
        logits, _ = read_answer(reply, inference.id, answers, joined=self._manifest.ends is not None)
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
        check_metadata(reply, self._manifest, self._version)
