"""A request and its answer on the device: written from a template, and checked before the logits are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from cutlayer.errors import DecodeError, SplitError
from cutlayer.models.manifest import Manifest, tail_name
from cutlayer.spec import TensorSpec
from cutlayer.tensors import join
from cutlayer.wire.codecs.base import Buffer, Encoded, Parameter, datatype_of
from cutlayer.wire.codecs.packed import decode, decoder
from cutlayer.wire.handshake import read_metadata_reply
from cutlayer.wire.message import Inference, Message, infer_reply, infer_request, read_infer_reply
from cutlayer.wire.template import DURATIONS, MOST_NS, read_timed

Durations = tuple[int, int, int, int]


Described = Mapping[str, tuple[str, tuple[int, ...]]]
"""Datatype and shape of tensors by name; a length is -1 where it depends on the data."""


class Template(NamedTuple):
    """The parts that all requests share whose smashed data has the same description.

    Attributes:
        smashed: Description of the smashed data, without bytes.
        request: The request without id and bytes.
        answers: What the server answers, with the batch.
        joined: Whether answers have names, so that they are joined.
        reply: The answer without id, bytes and durations; None where its header depends on the data.
        decoders: For each answer, a function from its bytes to the array. Raises DecodeError.
    """

    smashed: Encoded
    request: Message
    answers: Described
    joined: bool
    reply: Message | None
    decoders: tuple[Callable[[Buffer], NDArray[Any]], ...]

    def fits(self, encoded: Encoded) -> bool:
        """Return whether smashed data has the description of this template."""
        known = self.smashed
        return (
            encoded.shape == known.shape
            and encoded.datatype == known.datatype
            and encoded.parameters == known.parameters
        )

    def read(self, message: Message, request: Message) -> tuple[NDArray[Any], Durations]:
        """Return the answer and the server's durations from the answer to a request.

        Raises:
            DecodeError: The message is not an answer to this request.
        """
        ending = request.header[len(self.request.header) :]
        durations = None if self.reply is None else read_timed(message.header, self.reply.header + ending)
        if durations is not None and len(message.tensors) == len(self.decoders):
            arrays = [decode(data) for decode, data in zip(self.decoders, message.tensors, strict=True)]
            return (join(dict(zip(self.answers, arrays, strict=True))) if self.joined else arrays[0]), durations
        return read_answer(message, ending[2:].decode(), self.answers, joined=self.joined)


def template(
    encoded: Encoded, beside: Mapping[str, TensorSpec], manifest: Manifest, version: str,
    parameters: Mapping[str, Parameter],
) -> Template:  # fmt: skip
    """Return the template of the requests with smashed data like this. All of them have these parameters.

    Args:
        encoded: The smashed data.
        beside: What is sent beside it, without the batch.
        manifest: Manifest of the split.
        version: Its version, which takes long to compute.
        parameters: Parameters of the request.
    """
    n, model = encoded.shape[0], tail_name(manifest)
    smashed = encoded._replace(data=b"")
    tensors = {"smashed": smashed} | {name: _raw(*described) for name, described in with_batch(beside, n).items()}
    request = Inference(model, version, "", tensors, parameters)
    answers = with_batch(manifest.answers, n)
    reply: Message | None = None
    decoders: tuple[Callable[[Buffer], NDArray[Any]], ...] = ()
    if not any(-1 in shape for _, shape in answers.values()):
        logits = {name: _raw(*described) for name, described in answers.items()}
        reply = infer_reply(Inference(model, version, "", logits))
        decoders = tuple(decoder(tensor) for tensor in logits.values())
    return Template(smashed, infer_request(request), answers, manifest.ends is not None, reply, decoders)


def with_batch(specs: Mapping[str, TensorSpec], n: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return datatype and shape of tensors with `n` samples."""
    return {name: (datatype_of(spec.dtype), (n, *spec.shape)) for name, spec in specs.items()}


def _raw(datatype: str, shape: tuple[int, ...]) -> Encoded:
    return Encoded(datatype, shape, b"", {"codec": "raw"})


def read_answer(
    message: Message, request_id: str, answers: Described, *, joined: bool
) -> tuple[NDArray[Any], Durations]:
    """Return answers of these types and shapes and the server's durations, from any answer to the request of that id.

    Raises:
        DecodeError: The message is not an answer to this request.
    """
    reply = read_infer_reply(message)
    if reply.id != request_id or list(reply.tensors) != list(answers):
        raise DecodeError(f"The server answered {reply.id!r:.40}, not {request_id!r}.")
    for name, (datatype, shape) in answers.items():
        tensor = reply.tensors[name]
        if not _fits(tensor.shape, shape):
            raise DecodeError(f"The server answered {name} of shape {tensor.shape}, not {shape}.")
        if joined and tensor.datatype != datatype:
            raise DecodeError(f"The server answered {name} as {tensor.datatype}, not {datatype}.")
    queue_ns, decode_ns, tail_ns, reply_ns = (_duration(reply.parameters.get(name, 0)) for name in DURATIONS)
    arrays = {name: decode(tensor) for name, tensor in reply.tensors.items()}
    answer = join(arrays) if joined else next(iter(arrays.values()))
    return answer, (queue_ns, decode_ns, tail_ns, reply_ns)


def check_metadata(reply: Message, manifest: Manifest, version: str) -> None:
    """Refuse a server of another split, from its answer to the handshake."""
    held, model = read_metadata_reply(reply), tail_name(manifest)
    if held.name != model or version not in held.versions:
        raise different_split(f"The server holds {held.name} {', '.join(held.versions)}, not {model} {version}.")
    # A server of another project knows no versions of ours, and may hold a model with other tensors.
    _check_shapes("takes", held.inputs, {"smashed": manifest.smashed} | manifest.beside)
    _check_shapes("gives", held.outputs, manifest.answers)


def different_split(reason: str) -> SplitError:
    """Return the error of a device whose server holds another split."""
    return SplitError(f"The two sides hold different splits; copy one folder to both. {reason}")


def _check_shapes(verb: str, tensors: Described, expected: Mapping[str, TensorSpec]) -> None:
    for name, (datatype, shape) in tensors.items():
        # Where there is only one, its name does not matter.
        wanted = next(iter(expected.values())) if len(expected) == 1 else expected.get(name)
        if wanted is None:
            raise different_split(f"The server's model {verb} {name}, and this split's tail {', '.join(expected)}.")
        if datatype != datatype_of(wanted.dtype) or not _fits(shape[1:], wanted.shape):
            raise SplitError(
                f"The server's model {verb} {datatype} of shape {'x'.join(map(str, shape))}, but this split's tail "
                f"{verb} {datatype_of(wanted.dtype)} of shape Nx{wanted}; copy one folder to both sides."
            )


def _fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Return whether two shapes are equal, but for lengths that are open."""
    return len(shape) == len(expected) and all(
        -1 in (size, wanted) or size == wanted for size, wanted in zip(shape, expected, strict=True)
    )


def _duration(value: Parameter) -> int:
    if isinstance(value, (bool, str)) or not 0 <= value < MOST_NS:
        raise DecodeError(f"{value!r:.40} is not a duration.")
    return int(value)
