"""Reading of requests: from bytes to smashed data that the tail accepts, or to a refusal."""

from __future__ import annotations

import contextlib

import numpy as np
from numpy.typing import NDArray

from cutlayer.cloud.job import Job, Template
from cutlayer.errors import DecodeError, Refused
from cutlayer.models.manifest import Manifest, tail_name
from cutlayer.wire.codecs.base import Buffer, Encoded
from cutlayer.wire.codecs.packed import codec_of
from cutlayer.wire.handshake import Metadata, metadata_reply, read_metadata_request
from cutlayer.wire.message import PROTOCOL, Inference, Message, infer_reply, read_infer_request
from cutlayer.wire.template import without_id

MAX_TEMPLATES = 256


class Reader:
    """Reader of the requests for one split's tail."""

    def __init__(self, manifest: Manifest) -> None:
        self._expected, self._classes = manifest.smashed, manifest.classes
        self._dtype = np.dtype(self._expected.dtype)
        # Kept, because the manifest computes its hash at each access.
        self._version = manifest.version
        self._metadata = Metadata(
            name=tail_name(manifest),
            versions=(self._version,),
            inputs={"smashed": ("FP32", (-1, *manifest.smashed.shape))},
            outputs={"logits": ("FP32", (-1, manifest.classes))},
        )
        self._templates: dict[bytes, Template] = {}

    def metadata(self, request: Message) -> Message:
        """Return the answer to a handshake. Raises Refused or DecodeError."""
        wanted = read_metadata_request(request)
        self._check(wanted.name, wanted.versions)
        return metadata_reply(self._metadata)

    def read(self, message: Message) -> tuple[Template, str, Buffer]:
        """Return the template of a request, checked; its id; and the bytes of its tensor.

        Raises:
            DecodeError: The message is not a request of this protocol.
            Refused: The request is for another tail.
        """
        parts = without_id(message.header)
        if parts and len(message.tensors) == 1:
            known = self._templates.get(parts[0])
            if known is not None:
                return known, parts[1], message.tensors[0]
        request = read_infer_request(message)
        template = self._template(request)
        # A header that holds the tensor, or parameters that our codecs do not have, may differ in each request.
        fixed = {"codec", *codec_of(template.tensor).parameters}
        reusable = bool(message.tensors) and template.tensor.parameters.keys() <= fixed
        if parts and reusable and _is_request(message._replace(header=parts[0]), request._replace(id="")):
            if len(self._templates) >= MAX_TEMPLATES:
                self._templates.clear()
            self._templates[parts[0]] = template
        return template, request.id, request.tensors["smashed"].data

    def smashed(self, job: Job) -> NDArray[np.float32]:
        """Return the array ``(N, *smashed.shape)``, if the tail accepts it. Raises DecodeError."""
        smashed = job.template.decode(job.data)
        if smashed.dtype != self._dtype:
            raise DecodeError(f"Send {self._expected.dtype} of shape Nx{self._expected}, not {smashed.dtype}.")
        return smashed

    def _template(self, request: Inference) -> Template:
        self._check(request.model, (request.version,) if request.version else ())
        protocol = request.parameters.get("protocol", PROTOCOL)
        if protocol != PROTOCOL:
            raise DecodeError(f"This server speaks version {PROTOCOL} of the protocol, not {protocol!r:.20}.")
        if list(request.tensors) != ["smashed"]:
            raise DecodeError(f"Send one tensor named smashed, not {', '.join(request.tensors)!r:.80}.")
        tensor, expected = request.tensors["smashed"]._replace(data=b""), self._expected
        # Checked before decoding, because a few packed bytes may expand to a tensor of any size.
        if tensor.shape[1:] != expected.shape or 0 in tensor.shape:
            raise DecodeError(
                f"Send {expected.dtype} of shape Nx{expected}, not {tensor.datatype:.20} of shape {tensor.shape!s:.80}."
            )
        logits = Encoded("FP32", (*tensor.shape[:1], self._classes), b"", {"codec": "raw"})
        reply = infer_reply(Inference(request.model, self._version, "", {"logits": logits}))
        return Template(
            tensor, tensor.shape[0], codec_of(tensor).decoder(tensor), reply, request.parameters.get("session")
        )

    def _check(self, model: str, versions: tuple[str, ...]) -> None:
        """Refuse a request for another split. A request without a version, as of other clients, is accepted."""
        held = self._metadata
        if model != held.name or not set(versions) <= set(held.versions):
            wanted = " ".join((model, *versions))
            raise Refused("NOT_FOUND", f"This server holds {held.name} {held.versions[0]}, not {wanted:.80}.")


def _is_request(message: Message, request: Inference) -> bool:
    """Return whether a header without its ending is this request, so that the ending was its id."""
    with contextlib.suppress(DecodeError):
        return read_infer_request(message) == request
    return False
