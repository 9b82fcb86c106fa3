"""Shapes, types, parameters and multiply-accumulates of an ONNX file, measured by running it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cutlayer.onnx.file import OnnxFile
from cutlayer.onnx.protos import editable, open_proto, run, the_package
from cutlayer.onnx.seams import sources
from cutlayer.onnx.session import dtype_of
from cutlayer.onnx.types import BOUNDS, FLOATS, element_type, to_float32

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

# The position of the weights among the inputs of each kind of convolution, and the matrix products.
_WEIGHTS = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}
_SUMMED = {"MatMul", "MatMulInteger", "QLinearMatMul", "Gemm"}
_COUNTED = {*_WEIGHTS, *_SUMMED, "ConvTranspose"}

_NOT_COUNTED = {
    "Attention", "DFT", "DeformConv", "Einsum", "GRU", "If", "LSTM", "LinearAttention", "Loop", "RNN", "STFT", "Scan",
    "SequenceMap",
}  # fmt: skip
"""Operators of ONNX that multiply and accumulate and are not counted."""

_OWN_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")

_FREE = {
    "BiasGelu", "DequantizeLinear", "FastGelu", "Gelu", "QLinearAdd", "QLinearAveragePool", "QLinearConcat",
    "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearMul", "QLinearSigmoid", "QuantizeLinear", "QuickGelu",
    "SkipLayerNormalization", "SkipSimplifiedLayerNormalization",
}  # fmt: skip
"""Operators of other domains that are known to multiply and accumulate nothing."""

_IN_NUMPY = {
    f"tensor({name}{bits})"
    for name, sizes in (("float", ("", 16)), ("double", ("",)), ("int", (8, 16, 32, 64)), ("uint", (8, 16, 32, 64)))
    for bits in sizes
} | {"tensor(bool)", "tensor(string)"}
"""Types that ONNX Runtime returns as numpy arrays."""

_CAST = (*FLOATS, *BOUNDS)
"""Types that numpy lacks and that can be cast to one that it has, if they are none of `_IN_NUMPY`."""

AS_FLOAT = ":float32"

_NO_WEIGHTS = ("int32", "int64", "bool", "string", "object")
"""Types of constants that hold shapes and axes; a quantized bias of int32 is not counted either."""


class Value(NamedTuple):
    """A tensor of one run.

    Attributes:
        shape: Its shape; empty where numpy has no such type.
        dtype: The name of its type in numpy, or in ONNX Runtime where numpy has no such type.
        steady: Whether it has the same shape for other inputs.
        largest: Largest magnitude of whole numbers of 32 bits or more; 0 for others.
    """

    shape: tuple[int, ...]
    dtype: str
    steady: bool = True
    largest: float = 0.0


def measure(
    file: OnnxFile, path: Sequence[NodeProto], inputs: Mapping[str, NDArray[Any]], *others: Mapping[str, NDArray[Any]],
    free: bool,
) -> dict[str, Value]:  # fmt: skip
    """Measure every tensor on the path and every constant that its nodes take.

    Args:
        file: The model.
        path: The nodes between inputs and outputs.
        inputs: One batch of each input.
        *others: Further batches of the same size, for shapes that depend on what is in the inputs.
        free: Whether to leave the batch axis open.

    Raises:
        Exception: ONNX Runtime cannot run the model.
    """
    onnx = the_package()
    graph = file.proto.graph
    known = {
        tensor.name: Value(tuple(dims), onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).name)
        for tensor, dims in [
            *((tensor, tensor.dims) for tensor in graph.initializer),
            *((sparse.values, sparse.dims) for sparse in graph.sparse_initializer),
        ]
    }
    wanted = {name for node in path for name in (*sources(node), *node.output) if name}
    wanted -= known.keys() | file.inputs.keys()
    session = open_proto(probe(file, wanted, free), plain=True)
    types = {output.name: output.type for output in session.get_outputs()}
    names = [name for name, kind in types.items() if kind in _IN_NUMPY]
    batches = (inputs, *others)
    each = [dict(zip(names, run(session, batch, names), strict=True)) for batch in batches]
    cast = {name: dtype for name, kind in types.items() if kind not in _IN_NUMPY and (dtype := dtype_of(kind)) in _CAST}
    if cast:
        # Types that numpy does not have.
        session = open_proto(probe(file, cast, free, cast=True), plain=True)
        for arrays, batch in zip(each, batches, strict=True):
            arrays |= dict(zip(cast, run(session, batch, [f"{name}{AS_FLOAT}" for name in cast]), strict=True))
    return (
        known
        | {name: Value(batch.shape, batch.dtype.name) for name, batch in inputs.items()}
        | {name: Value((), dtype_of(kind)) for name, kind in types.items()}
        | {name: _value([arrays[name] for arrays in each], cast.get(name)) for name in each[0]}
    )


def _value(arrays: Sequence[NDArray[Any]], dtype: str | None) -> Value:
    """What is known of a tensor from its arrays in several runs; `dtype` where numpy does not have its type."""
    first, *others = arrays
    whole = first.dtype.kind in "iu" and first.dtype.itemsize >= 4 and first.size
    return Value(
        first.shape,
        dtype or {"object": "string"}.get(first.dtype.name, first.dtype.name),
        all(other.shape == first.shape for other in others),
        max(float(np.abs(array.astype(np.float64)).max(initial=0)) for array in arrays) if whole else 0.0,
    )


class Costs(NamedTuple):
    """What a node and all nodes of the path before it cost.

    Attributes:
        params: Parameters.
        macs: Multiply-accumulates of the operators that are counted.
        uncounted: The operators that are not counted, each once; the multiply-accumulates are at least `macs` then.
    """

    params: int
    macs: int
    uncounted: tuple[str, ...]


def costs(
    path: Sequence[NodeProto], values: Mapping[str, Value], inputs: Iterable[str]
) -> Iterator[tuple[NodeProto, Costs]]:
    """Each node of the path, with the parameters and the multiply-accumulates up to it.

    Parameters are the elements of the constant tensors that the nodes take. Statistics of batch normalization and
    scales of quantization for each channel count; scalars do not. Multiply-accumulates are those of convolutions and
    matrix products; control flow, local functions, operators of other domains, recurrent networks, attention and what
    computes in types that numpy does not have, such as bfloat16, are not counted, and named instead.

    Args:
        path: The nodes between input and output.
        values: Tensors measured with a batch of one.
        inputs: Names of the inputs.
    """
    seen = set(inputs) | {name for node in path for name in node.output}
    params = macs = 0
    uncounted: tuple[str, ...] = ()
    for node in path:
        constants = sources(node) - seen
        seen |= constants
        weights = [values[name] for name in constants if name in values and values[name].dtype not in _NO_WEIGHTS]
        params += sum(prod(value.shape) for value in weights if value.shape)
        of_node = _macs(node, values)
        if of_node is not None:
            macs += of_node
        elif (name := f"{node.domain}.{node.op_type}".lstrip(".")) not in uncounted:
            uncounted = (*uncounted, name)
        yield node, Costs(params, macs, uncounted)


def _macs(node: NodeProto, values: Mapping[str, Value]) -> int | None:
    """The multiply-accumulates of a node; None where they are not counted."""
    if node.op_type not in _COUNTED:
        known = node.op_type not in _NOT_COUNTED if node.domain in _OWN_DOMAINS else node.op_type in _FREE
        return 0 if known else None
    first, result = values[node.input[0]].shape, values[node.output[0]].shape
    if not first:
        return None
    if node.op_type == "ConvTranspose":
        return prod(first) * prod(values[node.input[1]].shape[1:])
    if node.op_type in _WEIGHTS:
        return prod(result) * prod(values[node.input[_WEIGHTS[node.op_type]]].shape[1:])
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return prod(result) * first[0 if transposed else -1]


def probe(file: OnnxFile, outputs: Iterable[str], free: bool, *, cast: bool = False) -> ModelProto:
    """The model with these tensors as its outputs, for any batch (`free`) or for one sample.

    With `cast`, the outputs are the tensors as float32, with `AS_FLOAT` behind their names.
    """
    onnx = the_package()
    model = editable(file.proto)
    graph = model.graph
    for values in (graph.input, graph.output, graph.value_info):
        del values[:]
    graph.input.extend(
        onnx.helper.make_tensor_value_info(name, element_type(spec.dtype), ["N" if free else 1, *spec.shape])
        for name, spec in file.inputs.items()
    )
    if cast:
        outputs = list(outputs)
        graph.node.extend(node for name in outputs for node in to_float32(name, f"{name}{AS_FLOAT}"))
        outputs = [f"{name}{AS_FLOAT}" for name in outputs]
    # Without types, which ONNX Runtime infers.
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(outputs))
    return model
