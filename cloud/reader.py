"""Reading of requests: from bytes to smashed data that the tail accepts, or to a refusal."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.cloud.job import Job, Template
from cutlayer.errors import DecodeError, Refused
from cutlayer.models.manifest import Manifest, tail_name
from cutlayer.spec import TensorSpec
from cutlayer.tensors import join
from cutlayer.wire.codecs.base import Buffer, Encoded, datatype_of
from cutlayer.wire.codecs.packed import codec_of
from cutlayer.wire.handshake import Metadata, metadata_reply, read_metadata_request
from cutlayer.wire.message import PROTOCOL, Inference, Message, infer_reply, read_infer_request
from cutlayer.wire.template import completed, without_id

MAX_TEMPLATES = 256


class Reader:
    """Reader of the requests for one split's tail.

    Args:
        manifest: Manifest of the split.
        max_samples: Most samples of a request.
    """

    def __init__(self, manifest: Manifest, max_samples: int) -> None:
        self._max_samples = max_samples
        self._expected = {"smashed": manifest.smashed} | manifest.beside
        self._sequence = manifest.sequence
        self._dtypes = [np.dtype(spec.dtype) for spec in self._expected.values()]
        self._answers, self._alone = manifest.answers, manifest.ends is not None and manifest.ends.alone
        # Kept, because the manifest computes its hash at each access.
        self._version = manifest.version
        self._metadata = Metadata(
            name=tail_name(manifest),
            versions=(self._version,),
            inputs=_described(self._expected),
            outputs=_described(self._answers),
        )
        self._templates: dict[bytes, Template] = {}

    def metadata(self, request: Message) -> Message:
        """Return the answer to a handshake. Raises Refused or DecodeError."""
        wanted = read_metadata_request(request)
        self._check(wanted.name, wanted.versions)
        return metadata_reply(self._metadata)

    def read(self, message: Message) -> tuple[Template, str, tuple[Buffer, ...]]:
        """Return the template of a request, checked; its id; and the bytes of its tensors.

        Raises:
            DecodeError: The message is not a request of this protocol.
            Refused: The request is for another tail.
        """
        parts = without_id(message.header)
        if parts and len(message.tensors) == len(self._dtypes):
            known = self._templates.get(parts[0])
            if known is not None:
                return known, parts[1], message.tensors
        request = read_infer_request(message)
        template = self._template(request)
        # A header that holds the tensor, or parameters that our codecs do not have, may differ in each request.
        reusable = bool(message.tensors) and all(
            tensor.parameters.keys() <= {"codec", *codec_of(tensor).parameters} for tensor in request.tensors.values()
        )
        if parts and reusable and _is_request(message._replace(header=parts[0]), request._replace(id="")):
            if len(self._templates) >= MAX_TEMPLATES:
                self._templates.clear()
            self._templates[parts[0]] = template
        return template, request.id, tuple(tensor.data for tensor in request.tensors.values())

    def smashed(self, job: Job) -> NDArray[Any]:
        """Return the array ``(N, *smashed.shape)``, joined with what came beside it, if the tail accepts it.

        Raises:
            DecodeError: The bytes are not those of such tensors.
        """
        arrays = [decode(data) for decode, data in zip(job.template.decode, job.data, strict=True)]
        for name, array, dtype in zip(self._expected, arrays, self._dtypes, strict=True):
            if array.dtype != dtype:
                spec = self._expected[name]
                named = "" if len(arrays) == 1 else f"{name} as "
                raise DecodeError(f"Send {named}{spec.dtype} of shape Nx{spec}, not {array.dtype}.")
        return arrays[0] if len(arrays) == 1 else join(dict(zip(self._expected, arrays, strict=True)))

    def answer(self, job: Job) -> Message:
        """Return the answer to a request whose samples were computed, without durations."""
        arrays = job.answers
        data = [array.tobytes() for array in arrays.values()]
        if job.template.reply is not None:
            return completed(job.template.reply, job.id, *data)
        answers = {
            name: Encoded(datatype_of(array.dtype.name), array.shape, bytes_, {"codec": "raw"})
            for (name, array), bytes_ in zip(arrays.items(), data, strict=True)
        }
        return infer_reply(Inference(self._metadata.name, self._version, job.id, answers))

    def _template(self, request: Inference) -> Template:
        self._check(request.model, (request.version,) if request.version else ())
        protocol = request.parameters.get("protocol", PROTOCOL)
        if protocol != PROTOCOL:
            raise DecodeError(f"This server speaks version {PROTOCOL} of the protocol, not {protocol!r:.20}.")
        if list(request.tensors) != list(self._expected):
            wanted = "one tensor named smashed" if len(self._expected) == 1 else ", ".join(self._expected)
            raise DecodeError(f"Send {wanted}, not {', '.join(request.tensors)!r:.80}.")
        tensors = {name: tensor._replace(data=b"") for name, tensor in request.tensors.items()}
        n = (tensors["smashed"].shape or (0,))[0]
        # Checked before decoding, because a few packed bytes may expand to a tensor of any size.
        for name, tensor in tensors.items():
            expected = self._expected[name]
            if not n or tensor.shape[:1] != (n,) or not self._takes(tensor.shape[1:], expected.shape):
                shorter = ", or a shorter sequence" if self._sequence else ""
                raise DecodeError(
                    f"Send {expected.dtype} of shape Nx{expected}{shorter}, not {tensor.datatype:.20} of shape "
                    f"{tensor.shape!s:.80}."
                )
        if n > self._max_samples:
            raise DecodeError(
                f"A request has at most {self._max_samples} samples at this server (--max-samples); this one has {n}."
            )
        if self._alone and n > 1:
            raise DecodeError("Send one sample in each request: how much this model answers depends on the sample.")
        codecs = [codec_of(tensor) for tensor in tensors.values()]
        decode = tuple(codec.decoder(tensor) for codec, tensor in zip(codecs, tensors.values(), strict=True))
        specs = zip(codecs, self._expected.values(), strict=True)
        decoded_bytes = sum(spec.nbytes for codec, spec in specs if codec.copies_bytes)
        answer_bytes = sum(max(0, spec.nbytes) for spec in self._answers.values())
        session, secret = (request.parameters.get(name) for name in ("session", "secret"))
        reply, more_bytes = self._reply(request.model, n), n * (decoded_bytes + answer_bytes)
        defense = request.parameters.get("defense")
        return Template(tensors["smashed"], n, decode, reply, session, secret, more_bytes, defense)

    def _takes(self, given: tuple[int, ...], expected: tuple[int, ...]) -> bool:
        """Return whether the tail takes a tensor of this shape: the greatest, or that of a shorter sequence."""
        if given == expected:
            return True
        shorter = len(given) == len(expected) and given[1:] == expected[1:]
        return self._sequence and shorter and 0 < given[0] < expected[0]

    def _reply(self, model: str, n: int) -> Message | None:
        """Return the answer without id, bytes and durations, if all is known before it is computed."""
        if self._alone:
            return None
        answers = {
            name: Encoded(datatype_of(spec.dtype), (n, *spec.shape), b"", {"codec": "raw"})
            for name, spec in self._answers.items()
        }
        return infer_reply(Inference(model, self._version, "", answers))

    def _check(self, model: str, versions: tuple[str, ...]) -> None:
        """Refuse a request for another split. A request without a version, as of other clients, is accepted."""
        held = self._metadata
        if model != held.name or not set(versions) <= set(held.versions):
            wanted = " ".join((model, *versions))
            raise Refused("NOT_FOUND", f"This server holds {held.name} {held.versions[0]}, not {wanted:.80}.")


def _described(specs: Mapping[str, TensorSpec]) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (datatype_of(spec.dtype), (-1, *spec.shape)) for name, spec in specs.items()}


def _is_request(message: Message, request: Inference) -> bool:
    """Return whether a header without its ending is this request, so that the ending was its id."""
    with contextlib.suppress(DecodeError):
        return read_infer_request(message) == request
    return False
