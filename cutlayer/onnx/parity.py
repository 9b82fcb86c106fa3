"""Whether two halves are valid models and compute what the whole computes, found by running them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, isnan, prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import SplitError
from cutlayer.onnx.errors import message
from cutlayer.onnx.file import OnnxFile, mostly_numbers, samples
from cutlayer.onnx.halves import Part
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

FLAT = 2
"""Axes of an answer that was flattened: samples and numbers."""

MOST_CHECKED = 1024
"""Elements of the largest constant that the checker gets; shapes and axes have fewer."""


NO_NUMBERS = "the whole gives mostly what is no number for random images, so that nothing can be compared"
"""Why no cut of a file can be checked."""

Answers = Sequence[Mapping[str, NDArray[Any]]]
"""The outputs by name for each sample, one after the other, each with a batch of one."""


def whole(file: OnnxFile, count: int, *, plain: bool) -> Answers:
    """The outputs of a file for `count` samples.

    Args:
        file: The model, with its batch first.
        count: Number of `samples`.
        plain: See `cutlayer.onnx.protos.open_proto`.

    Raises:
        SplitError: ONNX Runtime cannot run the file.
    """
    inputs, names = samples(file, count), list(file.outputs)
    try:
        session = open_proto(file.proto, plain=plain)
        return [dict(zip(names, run(session, one, names), strict=True)) for one in one_by_one(inputs)]
    except Exception as error:  # the errors of ONNX Runtime have no common base but this
        how = "" if plain else ", optimized"
        raise SplitError(f"ONNX Runtime cannot run {file.path}{how}: {message(error)}; export it again.") from None


def one_by_one(inputs: Mapping[str, NDArray[Any]]) -> list[dict[str, NDArray[Any]]]:
    """The samples of a batch, each a batch of its own."""
    count = len(next(iter(inputs.values())))
    return [{name: array[i : i + 1] for name, array in inputs.items()} for i in range(count)]


def difference(
    file: OnnxFile, parts: Sequence[Part], expected: Answers, *, together: bool, plain: bool, allowed: float
) -> str | None:
    """What is wrong with the parts of a file, in a few words without a full stop; None if nothing is.

    Args:
        file: The file that they were cut from.
        parts: Head and tail, or a head, parts between two cuts, and a tail, each of which takes what the one before
            gives.
        expected: The outputs of `whole`.
        together: Whether to run the samples as one batch, rather than one after the other.
        plain: The value of `plain` with which `expected` was computed.
        allowed: Largest difference that is no fault; see `distance`.
    """
    if not all(mostly_numbers(array) for answer in expected for array in answer.values()):
        return NO_NUMBERS
    for part in parts:
        if fault := _fault(part.model, file):
            which = "head" if part is parts[0] else "tail"
            return f"the checker of ONNX says that the {which} would be no valid model: {fault}"
    if not all(part.taken for part in parts[1:]):
        return "the tail does not depend on the smashed data"
    inputs = samples(file, len(expected))
    try:
        given = _through(parts, [inputs] if together else one_by_one(inputs), plain=plain)
    except Exception as error:  # the errors of ONNX Runtime have no common base but this
        return f"ONNX Runtime cannot run the halves: {message(error)}"
    answers = one_by_one(given[0]) if together else given
    apart = furthest(answers, expected)
    if apart <= allowed:
        return None
    return f"the halves give something else than the whole, by {apart:.2g} of its largest output"


def _through(
    parts: Sequence[Part], batches: Sequence[Mapping[str, NDArray[Any]]], *, plain: bool
) -> list[dict[str, NDArray[Any]]]:
    """All outputs of the file for each batch, from all parts, which are opened one after the other."""
    smashed: list[NDArray[Any]] = []
    given: list[dict[str, NDArray[Any]]] = [{} for _ in batches]
    for part in parts:
        session = open_proto(part.model, plain=plain)
        names = [*(["smashed"] if part is not parts[-1] else []), *part.outputs]
        for place, batch in enumerate(batches):
            before = {part.taken: smashed[place]} if part.taken else {}
            arrays = run(session, before | {name: batch[of] for name, of in part.inputs.items()}, names)
            if part is not parts[-1]:
                smashed[place : place + 1] = [arrays.pop(0)]
            given[place] |= dict(zip(part.outputs.values(), arrays, strict=True))
    return given


def furthest(given: Answers, expected: Answers) -> float:
    """The largest `distance` of any output of any sample."""
    return max(
        distance(one[name], wanted[name]) for one, wanted in zip(given, expected, strict=True) for name in wanted
    )


def tolerance(model: ModelProto, *, plain: bool) -> float:
    """The largest difference that is no fault: `TOLERANCE`, or more for a model that rounds; see `open_proto`."""
    graph = model.graph
    types = {tensor.data_type for tensor in graph.initializer}
    types |= {attribute.i for node in graph.node for attribute in node.attribute if attribute.name == "to"}
    halves = [tolerance for dtype, tolerance in HALF_TOLERANCES.items() if element_type(dtype) in types]
    if not plain and any("uantize" in node.op_type for node in graph.node):
        halves.append(QUANTIZED_TOLERANCE)
    return max(halves, default=TOLERANCE)


def _fault(model: ModelProto, file: OnnxFile) -> str | None:
    """What the checker of ONNX finds wrong with a half; what shape inference finds in the file itself is not our fault.

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
    checked = onnx.ModelProto(
        ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions, graph=graph
    )
    try:
        onnx.checker.check_model(checked, full_check=file.can_be_inferred)
    except Exception as error:  # the errors of checker and inference have no common base but this
        return message(error)
    return None


def distance(given: NDArray[Any], expected: NDArray[Any]) -> float:
    """How far two outputs of one sample are apart; infinite where it cannot be said.

    Of real numbers, the largest difference as a fraction of the largest expected value. Of whole numbers, such as the
    class of each pixel, the share of those that differ: two values may be nearly equal where one is chosen.
    """
    if given.size != expected.size or (given.shape != expected.shape and given.ndim != FLAT):
        return inf
    given, expected = given.reshape(expected.shape), expected
    if expected.dtype.kind != "f":
        return float((given != expected).mean()) if expected.size else 0.0
    numbers = np.isfinite(expected)
    if not np.array_equal(given[~numbers], expected[~numbers], equal_nan=True):
        return inf
    largest_difference = float(np.abs(given[numbers] - expected[numbers]).max(initial=0.0))
    largest = float(np.abs(expected[numbers]).max(initial=0.0))
    if isnan(largest_difference) or (largest_difference and not largest):
        return inf
    return largest_difference / largest if largest else 0.0
