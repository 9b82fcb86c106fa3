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
class Part:
    """A part of a file as a model of its own, and what stands for which tensor of the file.

    Attributes:
        model: The model. It takes `taken`, and gives ``smashed`` unless it is the tail.
        taken: Name of the input that is the smashed data of the cut before; None in the head, and where the part does
            not depend on it.
        inputs: Each other input, and the input of the file that it is.
        outputs: Each output beside ``smashed``, and the output of the file that it is.
    """

    model: ModelProto
    taken: str | None
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class Halves:
    """Both halves of a file."""

    head: Part
    tail: Part


def halves(file: OnnxFile, place: Place) -> Halves:
    """Head and tail of a file at a cut; see `part`."""
    return Halves(part(file, None, place), part(file, place, None))


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


def part(file: OnnxFile, before: Place | None, after: Place | None) -> Part:
    """What a file computes between two cuts, with its opsets, local functions and metadata.

    Without a cut before it this is the head of the cut after it, without one after it the tail of the one before. Each
    part gets the initializers and constants that it needs. Where `is_plain`, the tensors at the ends are called
    ``image`` and ``logits``, as in any split folder, and an answer of several axes is flattened to one; otherwise they
    keep their names, types and shapes. Smashed data is float32 with a batch first.

    Args:
        file: The whole model, with its batch first.
        before: The cut whose smashed data the part takes.
        after: The cut whose smashed data it gives.
    """
    onnx = the_package()
    place = after or before
    assert place is not None, "a part has a cut at one end at least"
    batch = "N" if place.free else 1
    plain = is_plain(file)
    # Both ends of a part in the middle are smashed data.
    taken = "smashed" if after is None else "smashed_before"
    done = () if before is None else before.kept
    given = [name for name in (file.outputs if after is None else after.kept) if name not in done]

    def smashed(cut: Place, name: str) -> ValueInfoProto:
        value: ValueInfoProto = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [batch, *cut.smashed])
        return value

    takes = {
        name: onnx.helper.make_tensor_value_info(
            "image" if plain else name, element_type(spec.dtype), [batch, *spec.shape]
        )
        for name, spec in file.inputs.items()
    }
    gives = {
        name: onnx.helper.make_tensor_value_info(
            "logits" if plain else name, element_type("float32" if plain else file.outputs[name].dtype),
            [batch, prod(file.outputs[name].shape)]
            if plain
            else [batch, *(size if size >= 0 else None for size in file.outputs[name].shape)],
        )
        for name in given
    }  # fmt: skip
    starts = takes if before is None else {before.name: smashed(before, taken)} | takes
    ends = gives if after is None else {after.name: smashed(after, "smashed")} | gives
    model = _part(file, starts, ends)
    if after is not None:
        if after.name in gives:
            model.graph.output.append(smashed(after, "smashed"))
        _end_head(model.graph, after)
    if before is not None:
        _begin_tail(model.graph, before, taken)
    if plain and after is None:
        (answer,) = given
        _flatten(model.graph, file.outputs[answer].dtype, axes=len(file.outputs[answer].shape))
    of_file = {value.name: name for name, value in takes.items()}
    inputs = [value.name for value in model.graph.input]
    depends = before is not None and taken in inputs
    if depends:
        inputs.remove(taken)
    return Part(
        model,
        taken if depends else None,
        {name: of_file[name] for name in inputs},
        {value.name: name for name, value in gives.items()},
    )


def _part(file: OnnxFile, starts: Mapping[str, ValueInfoProto], ends: Mapping[str, ValueInfoProto]) -> ModelProto:
    """The nodes between tensors as a model, in which these tensors are called as their descriptions say."""
    onnx = the_package()
    whole, index = file.proto, file.index
    places = index.closure(starts.keys(), ends.keys())
    nodes = [index.nodes[place] for place in places]
    needed = set[str]().union(*(index.sources[place] for place in places))
    dense, sparse = index.weights(needed)
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
            initializer=dense,
            sparse_initializer=sparse,
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
        last.append(reshape(graph, real, "smashed", (1, *place.smashed), names_in(graph)))
    surround(graph, [], last)


def _begin_tail(graph: GraphProto, place: Place, taken: str) -> None:
    """Undo what the head did at its end; `taken` is the name of the smashed data."""
    if place.dtype == "float32" and place.batched:
        return
    tensor = unused(taken, {*names_in(graph), taken})
    rename(graph.node, {taken: tensor})
    first: list[NodeProto] = []
    whole = taken
    if not place.batched:
        whole = tensor if place.dtype == "float32" else unused(f"{taken}_whole", names_in(graph))
        first.append(reshape(graph, taken, whole, place.shape, names_in(graph)))
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
