"""Head and tail of an ONNX file, as models of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from cutlayer.onnx.ends import reshape
from cutlayer.onnx.file import OnnxFile
from cutlayer.onnx.names import names_in, rename, surround, unused, weights
from cutlayer.onnx.protos import the_package
from cutlayer.onnx.seams import closure, sources
from cutlayer.onnx.types import element_type, from_float32, to_float32

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto


@dataclass(frozen=True)
class Place:
    """What the two halves have to know of the tensor at a cut.

    Attributes:
        name: Name of the tensor.
        dtype: Its type.
        shape: Its whole shape for one sample.
        batched: Whether its first axis is the batch; otherwise the whole tensor is sent as one sample.
        free: Whether the halves take any batch, or one sample at a time.
        kept: Outputs that the head computes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    batched: bool
    free: bool
    kept: tuple[str, ...]

    @property
    def smashed(self) -> tuple[int, ...]:
        """Shape of one sample of the smashed data."""
        return self.shape[1:] if self.batched else self.shape or (1,)


@dataclass(frozen=True)
class Halves:
    """Both halves, and what stands for which tensor of the file.

    Attributes:
        head: The head; it gives ``smashed``.
        tail: The tail; it takes ``smashed``.
        head_inputs: Each input of the head, and the input of the file that it is.
        tail_inputs: Each input of the tail beside the smashed data, likewise.
        kept: Each output of the head beside the smashed data, and the output of the file that it is.
        answers: Each output of the tail, likewise.
    """

    head: ModelProto
    tail: ModelProto
    head_inputs: Mapping[str, str]
    tail_inputs: Mapping[str, str]
    kept: Mapping[str, str]
    answers: Mapping[str, str]


def is_plain(file: OnnxFile) -> bool:
    """Whether a file takes one image and gives one vector, so that its halves are those of any classifier."""
    ((_, answer), *more) = file.outputs.items()
    return (
        len(file.inputs) == 1
        and not more
        and {file.input.dtype} == {"float32"}
        and answer.dtype in ("float32", "float64")
        and -1 not in answer.shape
    )


def halves(file: OnnxFile, place: Place) -> Halves:
    """Head and tail as models of their own, with the opsets, local functions and metadata of the file.

    Each half gets the initializers and constants that it needs. Where `is_plain`, the tensors at the ends are called
    ``image`` and ``logits``, as in any split folder, and an answer of several axes is flattened to one; otherwise they
    keep their names, types and shapes. Smashed data is float32 with a batch first.

    Args:
        file: The whole model, with its batch first.
        place: Where it is cut.
    """
    onnx = the_package()
    batch = "N" if place.free else 1
    plain = is_plain(file)
    answers = [name for name in file.outputs if name not in place.kept]
    sent = onnx.helper.make_tensor_value_info("smashed", onnx.TensorProto.FLOAT, [batch, *place.smashed])
    takes = {
        name: onnx.helper.make_tensor_value_info(
            "image" if plain else name, element_type(spec.dtype), [batch, *spec.shape]
        )
        for name, spec in file.inputs.items()
    }
    gives = {
        name: onnx.helper.make_tensor_value_info(
            "logits" if plain else name, element_type("float32" if plain else spec.dtype),
            [batch, prod(spec.shape)] if plain else [batch, *(size if size >= 0 else None for size in spec.shape)],
        )
        for name, spec in file.outputs.items()
    }  # fmt: skip
    head = _part(file.proto, takes, {place.name: sent} | {name: gives[name] for name in place.kept})
    if place.name in place.kept:
        head.graph.output.append(sent)
    tail = _part(file.proto, {place.name: sent} | takes, {name: gives[name] for name in answers})
    _end_head(head.graph, place)
    _begin_tail(tail.graph, place)
    if plain:
        _flatten(tail.graph, file.outputs[answers[0]].dtype, axes=len(file.outputs[answers[0]].shape))
    shown = {value.name: name for name, value in (*takes.items(), *gives.items())}
    return Halves(
        head,
        tail,
        {value.name: shown[value.name] for value in head.graph.input},
        {value.name: shown[value.name] for value in tail.graph.input if value.name != "smashed"},
        {gives[name].name: name for name in place.kept},
        {gives[name].name: name for name in answers},
    )


def _part(whole: ModelProto, starts: Mapping[str, ValueInfoProto], ends: Mapping[str, ValueInfoProto]) -> ModelProto:
    """The nodes between tensors as a model, in which these tensors are called as their descriptions say."""
    onnx = the_package()
    nodes = closure(whole.graph, starts.keys(), ends.keys())
    needed = {name for node in nodes for name in sources(node)}
    part: ModelProto = onnx.ModelProto(
        # Before version 4 each initializer had to be an input as well; otherwise the two are the same.
        ir_version=max(whole.ir_version, 4),
        opset_import=whole.opset_import,
        functions=whole.functions,
        metadata_props=whole.metadata_props,
        producer_name=whole.producer_name,
        producer_version=whole.producer_version,
        graph=onnx.GraphProto(
            name=whole.graph.name or "graph",
            node=nodes,
            initializer=[tensor for tensor in whole.graph.initializer if tensor.name in needed],
            sparse_initializer=[t for t in whole.graph.sparse_initializer if t.values.name in needed],
            input=[value for name, value in starts.items() if name in needed],
            output=ends.values(),
        ),
    )
    renamed = {name: value.name for name, value in (*starts.items(), *ends.items())}
    # Other tensors that have these names, such as an image that the model computes from its input.
    taken = names_in(part.graph)
    clashes = set(renamed.values()) & taken - set(renamed)
    renamed |= {name: unused(name, taken) for name in clashes}
    rename(part.graph.node, renamed)
    for tensor in weights(part.graph):
        tensor.name = renamed.get(tensor.name, tensor.name)
    return part


def _end_head(graph: GraphProto, place: Place) -> None:
    """Give the tensor at the cut as ``smashed``: in float32, and with a batch first."""
    onnx = the_package()
    is_output = place.name in place.kept
    if place.dtype == "float32" and place.batched and not is_output:
        return
    tensor = place.name
    if not is_output:
        tensor = unused("smashed", {*names_in(graph), "smashed"})
        rename(graph.node, {"smashed": tensor})
    real = tensor if place.dtype == "float32" else unused("smashed_real", names_in(graph))
    last = [] if real == tensor else to_float32(tensor, real)
    if place.batched:
        last.append(onnx.helper.make_node("Identity", [real], ["smashed"], name="smashed"))
    else:
        last.append(reshape(graph, real, "smashed", (1, *place.smashed)))
    surround(graph, [], last)


def _begin_tail(graph: GraphProto, place: Place) -> None:
    """Undo what the head did at its end."""
    if place.dtype == "float32" and place.batched:
        return
    tensor = unused("smashed", {*names_in(graph), "smashed"})
    rename(graph.node, {"smashed": tensor})
    first: list[NodeProto] = []
    whole = "smashed"
    if not place.batched:
        whole = tensor if place.dtype == "float32" else unused("smashed_whole", names_in(graph))
        first.append(reshape(graph, "smashed", whole, place.shape))
    if place.dtype != "float32":
        first += from_float32(whole, tensor, place.dtype, graph)
    surround(graph, first, [])


def _flatten(graph: GraphProto, dtype: str, axes: int) -> None:
    """Give ``logits`` as vectors of float32."""
    onnx = the_package()
    last: list[NodeProto] = []
    if dtype != "float32":
        inner = unused("logits", {*names_in(graph), "logits"})
        rename(graph.node, {"logits": inner})
        last += to_float32(inner, "logits")
        surround(graph, [], last)
    if axes != 1:
        inner = unused("unflattened", {*names_in(graph), "logits"})
        rename(graph.node, {"logits": inner})
        surround(graph, [], [onnx.helper.make_node("Flatten", [inner], ["logits"], axis=1)])
