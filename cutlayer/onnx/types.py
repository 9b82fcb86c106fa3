"""Types other than float32 at the seam and at the ends of a model, converted to float32 and back.

Smashed data and images are float32, whatever the file computes in. The conversions are exact for every type of at most
24 bits, and for larger ones within `EXACT`; of a float64 the seam keeps the precision of float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cutlayer.onnx.names import GIVEN, TAKEN, renamed, surround
from cutlayer.onnx.protos import editable, the_package

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

FLOATS = ("float32", "float16", "bfloat16", "float64", "float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz")
"""Types of real numbers, which are cast and need no rounding."""

EXACT = float(2**24)
"""Every integer up to this one has a float32 of its own."""

BOUNDS = {
    "bool": (0.0, 1.0), "uint8": (0.0, 255.0), "int8": (-128.0, 127.0), "uint16": (0.0, 65535.0),
    "int16": (-32768.0, 32767.0), "uint4": (0.0, 15.0), "int4": (-8.0, 7.0), "uint32": (0.0, EXACT),
    "uint64": (0.0, EXACT), "int32": (-EXACT, EXACT), "int64": (-EXACT, EXACT),
}  # fmt: skip
"""Least and greatest value of each type of whole numbers that float32 carries."""

HALF = tuple(dtype for dtype in FLOATS if dtype not in ("float32", "float64"))
"""Types of real numbers that float32 holds exactly."""

LOSSLESS = {"float16": "fp16", "bfloat16": "bf16", "uint8": "int8", "int8": "int8"}
"""The codec that loses nothing of a seam of this type: the tail rounds what has to be whole."""

ROUNDS_SINCE = 11
"""First opset with an operator that rounds."""


def element_type(dtype: str) -> int:
    """The number that ONNX has for a type, named as in numpy or, where numpy has no such type, as in ONNX Runtime."""
    names = {"float32": "FLOAT", "float64": "DOUBLE"}
    number: int = getattr(the_package().TensorProto, names.get(dtype, dtype.upper()))
    return number


def to_float32(tensor: str, name: str) -> list[NodeProto]:
    """The nodes that give `tensor` as float32 under another name."""
    onnx = the_package()
    return [onnx.helper.make_node("Cast", [tensor], [name], name=name, to=onnx.TensorProto.FLOAT)]


def from_float32(tensor: str, name: str, dtype: str, graph: GraphProto) -> list[NodeProto]:
    """The nodes that give float32 as a tensor of another type: whole numbers are rounded and kept within its range.

    So a defense or a codec that changes the numbers a little leaves values that the rest of the model can take.

    Args:
        tensor: Name of the float32 tensor.
        name: Name of the result.
        dtype: Its type.
        graph: Gets the bounds as initializers.
    """
    onnx = the_package()
    nodes, last = [], tensor
    if dtype in BOUNDS:
        for bound, value in zip(("low", "high"), BOUNDS[dtype], strict=True):
            graph.initializer.append(onnx.helper.make_tensor(f"{name}_{bound}", onnx.TensorProto.FLOAT, [], [value]))
        rounded, last = f"{name}_rounded", f"{name}_within"
        nodes = [
            onnx.helper.make_node("Round", [tensor], [rounded], name=rounded),
            onnx.helper.make_node("Clip", [rounded, f"{name}_low", f"{name}_high"], [last], name=last),
        ]
    return [*nodes, onnx.helper.make_node("Cast", [last], [name], name=f"{name}_cast", to=element_type(dtype))]


def float32_ends(model: ModelProto, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> ModelProto:
    """The model that takes float32 where it took other real numbers, and gives float32 where it gave half precision.

    Args:
        model: The model.
        inputs: The type of each input by name.
        outputs: The type of each output by name.
    """
    taken = {name: dtype for name, dtype in inputs.items() if dtype in FLOATS and dtype != "float32"}
    given = [name for name, dtype in outputs.items() if dtype in HALF]
    if not taken and not given:
        return model
    model = editable(model)
    graph = model.graph
    first: list[NodeProto] = []
    last: list[NodeProto] = []
    for name, inner in renamed(graph, taken, TAKEN).items():
        first += from_float32(name, inner, taken[name], graph)
    for name, inner in renamed(graph, given, GIVEN).items():
        last += to_float32(inner, name)
    surround(graph, first, last)
    for value in (*graph.input, *graph.output):
        if value.name in taken or value.name in given:
            value.type.tensor_type.elem_type = the_package().TensorProto.FLOAT
    return model
