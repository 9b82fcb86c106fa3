"""Whether two halves are valid models and compute what the whole computes, found by running them."""

from __future__ import annotations

from math import inf, isnan, prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cutlayer.onnx.errors import message
from cutlayer.onnx.file import OnnxFile, samples
from cutlayer.onnx.protos import open_proto, run, the_package
from cutlayer.onnx.types import element_type

if TYPE_CHECKING:
    from onnx import ModelProto

TOLERANCE = 1e-4
"""Largest difference between tail(head(x)) and the whole, as a fraction of the largest output."""

QUANTIZED_TOLERANCE = 0.1
"""`TOLERANCE` of a model in int8 with optimization: where the cut prevents a fusion, ONNX Runtime rounds elsewhere.

A ResNet-20 with random weights changes by 2.3 % when it is optimized, its halves from the whole by 1.6 %."""

HALF_TOLERANCES = {"float16": 0.01, "bfloat16": 0.05}
"""`TOLERANCE` of a model that computes in half precision: ONNX Runtime keeps float32 between two nodes, but not across
a cut, so that a tensor is rounded there and nowhere else, to 11 or 8 bits."""

MOST_CHECKED = 1024
"""Elements of the largest constant that the checker gets; shapes and axes have fewer."""


def whole(file: OnnxFile, count: int, *, plain: bool) -> NDArray[np.float32]:
    """The output of a file for `count` samples, one after the other: ``(count, classes)``.

    Args:
        file: The model.
        count: Number of `samples`.
        plain: See `cutlayer.onnx.file.open_proto`.
    """
    session, images = open_proto(file.proto, plain=plain), samples(file.input, count)
    each = [run(session, {file.image: images[i : i + 1]}, [file.logits])[0] for i in range(count)]
    return np.concatenate(each).reshape(count, -1)


def difference(
    file: OnnxFile, parts: tuple[ModelProto, ModelProto], expected: NDArray[np.float32], *, together: bool, plain: bool
) -> str | None:
    """What is wrong with the head and tail of a file, in a few words without a full stop; None if nothing is.

    Args:
        file: The file that they were cut from.
        parts: Head and tail.
        expected: The output of `whole`.
        together: Whether to run the samples as one batch, rather than one after the other.
        plain: The value of `plain` with which `expected` was computed.
    """
    for name, part in zip(("head", "tail"), parts, strict=True):
        if fault := _fault(part):
            return f"the checker of ONNX says that the {name} would be no valid model: {fault}"
    if not np.isfinite(expected).all():
        return "the whole gives infinity, or what is no number, for random images, so that nothing can be compared"
    images = samples(file.input, len(expected))
    batches = [images] if together else [images[i : i + 1] for i in range(len(images))]
    try:
        head, tail = (open_proto(part, plain=plain) for part in parts)
        smashed = [run(head, {"image": batch}, ["smashed"])[0] for batch in batches]
        logits = np.concatenate([run(tail, {"smashed": batch}, ["logits"])[0] for batch in smashed])
    except Exception as error:  # the errors of ONNX Runtime have no common base but this
        return f"ONNX Runtime cannot run the halves: {message(error)}"
    apart = distance(logits, expected)
    if apart <= tolerance(file.proto, plain=plain):
        return None
    return f"the halves give something else than the whole, by {apart:.2g} of its largest output"


def tolerance(model: ModelProto, *, plain: bool) -> float:
    """The largest difference that is no fault: `TOLERANCE`, or more for a model that rounds; see `open_proto`."""
    graph = model.graph
    types = {tensor.data_type for tensor in graph.initializer}
    types |= {attribute.i for node in graph.node for attribute in node.attribute if attribute.name == "to"}
    halves = [tolerance for dtype, tolerance in HALF_TOLERANCES.items() if element_type(dtype) in types]
    if not plain and any("uantize" in node.op_type for node in graph.node):
        halves.append(QUANTIZED_TOLERANCE)
    return max(halves, default=TOLERANCE)


def _fault(model: ModelProto) -> str | None:
    """What the checker of ONNX, with shape inference, finds wrong with a model.

    It gets large weights as inputs: it needs only their shapes, and copying the weights would take most of the time.
    """
    onnx = the_package()
    graph = onnx.GraphProto(
        name=model.graph.name, node=model.graph.node, input=model.graph.input, output=model.graph.output,
        sparse_initializer=model.graph.sparse_initializer,
    )  # fmt: skip
    for tensor in model.graph.initializer:
        if prod(tensor.dims) > MOST_CHECKED:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        else:
            graph.initializer.append(tensor)
    try:
        onnx.checker.check_model(
            onnx.ModelProto(
                ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions, graph=graph
            ),
            full_check=True,
        )
    except Exception as error:  # the errors of checker and inference have no common base but this
        return message(error)
    return None


def distance(given: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest difference, as a fraction of the largest expected value; infinite where it is not a number."""
    if given.shape != expected.shape:
        return inf
    # Infinity minus infinity is not a number, which is handled below.
    with np.errstate(invalid="ignore"):
        largest_difference = float(np.abs(given - expected).max(initial=0.0))
    largest = float(np.abs(expected).max(initial=0.0))
    if isnan(largest_difference) or (largest_difference and not largest):
        return inf
    return largest_difference / largest if largest else 0.0
