"""From the bytes of a request to smashed data that the tail takes, or the reason why not."""

from __future__ import annotations

import contextlib

import numpy as np
from numpy.typing import NDArray

from cloud.job import Job, Prepared
from cutlayer.errors import DecodeError, Refused
from cutlayer.models.manifest import Manifest, tail_name
from cutlayer.wire.codecs.base import Buffer, Encoded
from cutlayer.wire.codecs.packed import decoder
from cutlayer.wire.handshake import Metadata, metadata_reply, read_metadata_request
from cutlayer.wire.message import PROTOCOL, Inference, Message, infer_reply, read_infer_request
from cutlayer.wire.template import without_id

MAX_PREPARED = 256


class Reader:
    """Reads requests for the tail of one split."""

    def __init__(self, manifest: Manifest) -> None:
        self._expected, self._classes = manifest.smashed, manifest.classes
        self._dtype = np.dtype(self._expected.dtype)
        # A hash over the manifest, computed anew at each look.
        self._version = manifest.version
        self._metadata = Metadata(
            name=tail_name(manifest),
            versions=(self._version,),
            inputs={"smashed": ("FP32", (-1, *manifest.smashed.shape))},
            outputs={"logits": ("FP32", (-1, manifest.classes))},
        )
        self._prepared: dict[bytes, Prepared] = {}

    def metadata(self, request: Message) -> Message:
        """The answer to a handshake. Raises the reason to refuse it."""
        asked = read_metadata_request(request)
        self._check(asked.name, asked.versions)
        return metadata_reply(self._metadata)

    def read(self, message: Message) -> tuple[Prepared, str, Buffer]:
        """What a request has in common with others of its session, checked; its id; and the bytes of its tensor.

        Raises:
            DecodeError: It is no request of this protocol.
            Refused: It is for another tail.
        """
        ended = without_id(message.header)
        if ended and len(message.tensors) == 1:
            known = self._prepared.get(ended[0])
            if known is not None:
                return known, ended[1], message.tensors[0]
        request = read_infer_request(message)
        prepared = self._prepare(request)
        # Headers that hold the tensor, or figures that depend on it, are never the same: there is nothing to keep.
        alike = bool(message.tensors) and prepared.tensor.parameters.keys() <= {"codec", "per"}
        if ended and alike and _is_request(message._replace(header=ended[0]), request._replace(id="")):
            if len(self._prepared) >= MAX_PREPARED:
                self._prepared.clear()
            self._prepared[ended[0]] = prepared
        return prepared, request.id, request.tensors["smashed"].data

    def smashed(self, job: Job) -> NDArray[np.float32]:
        """The array ``(N, *smashed.shape)``, once it is what the tail takes. Raises DecodeError."""
        smashed = job.prepared.decode(job.data)
        if smashed.dtype != self._dtype:
            raise DecodeError(f"Send {self._expected.dtype} of shape Nx{self._expected}, not {smashed.dtype}.")
        return smashed

    def _prepare(self, request: Inference) -> Prepared:
        self._check(request.model, (request.version,) if request.version else ())
        protocol = request.parameters.get("protocol", PROTOCOL)
        if protocol != PROTOCOL:
            raise DecodeError(f"This server speaks version {PROTOCOL} of the protocol, not {protocol!r:.20}.")
        if list(request.tensors) != ["smashed"]:
            raise DecodeError(f"Send one tensor, smashed, not {', '.join(request.tensors)!r:.80}.")
        tensor, expected = request.tensors["smashed"]._replace(data=b""), self._expected
        # Before it is decoded, for a few packed bytes may stand for a tensor of any size.
        if tensor.shape[1:] != expected.shape or 0 in tensor.shape:
            raise DecodeError(
                f"Send {expected.dtype} of shape Nx{expected}, not {tensor.datatype:.20} of shape {tensor.shape!s:.80}."
            )
        logits = Encoded("FP32", (*tensor.shape[:1], self._classes), b"", {"codec": "raw"})
        reply = infer_reply(Inference(request.model, self._version, "", {"logits": logits}))
        return Prepared(tensor, tensor.shape[0], decoder(tensor), reply, request.parameters.get("session"))

    def _check(self, model: str, versions: tuple[str, ...]) -> None:
        """Refuse a request for another split. One that names no version, as other clients do, takes what is here."""
        here = self._metadata
        if model != here.name or not set(versions) <= set(here.versions):
            asked = " ".join((model, *versions))
            raise Refused("NOT_FOUND", f"This server holds {here.name} {here.versions[0]}, not {asked:.80}.")


def _is_request(message: Message, request: Inference) -> bool:
    """Whether a message without its last bytes is that request, so that these bytes were an id."""
    with contextlib.suppress(DecodeError):
        return read_infer_request(message) == request
    return False
