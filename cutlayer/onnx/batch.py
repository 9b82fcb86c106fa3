"""Models that were exported for one sample at a time, changed to take any number where that gives the same output.

A server computes the requests of several clients together, so an open batch axis is worth a try. Running the model
shows whether the axis may be opened; the graph does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cutlayer.onnx import costs as onnx_costs
from cutlayer.onnx.file import OnnxFile, samples
from cutlayer.onnx.parity import Answers, distance, one_by_one, tolerance, whole
from cutlayer.onnx.protos import editable, open_proto, run, the_package
from cutlayer.onnx.seams import has_control_flow

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

BATCH = 2
"""Number of samples in the trial."""


def any_batch(file: OnnxFile, path: Sequence[NodeProto]) -> tuple[OnnxFile, Mapping[str, onnx_costs.Value]] | None:
    """The same model for batches of any size, and its tensors for a batch of `BATCH` samples.

    None where it computes a batch differently from one sample after the other, or not at all.

    Args:
        file: The model.
        path: The nodes between its input and its output.
    """
    # A branch that depends on the data would be taken for the whole batch.
    if has_control_flow(file.proto) or file.state or any(-1 in spec.shape for spec in file.outputs.values()):
        return None
    inputs, names = samples(file, BATCH), list(file.outputs)
    allowed = tolerance(file.proto, plain=True)
    expected: Answers = ()
    for reshaping in (False, True):
        try:
            opened = replace(file, proto=_reshaping_any_batch(file, path)) if reshaping else file
            session = open_proto(onnx_costs.probe(opened, names, free=True), plain=True)
            together = dict(zip(names, run(session, inputs, names), strict=True))
            expected = expected or whole(file, BATCH, plain=True)
            if all(len(array) == BATCH for array in together.values()) and all(
                distance(one[name], wanted[name]) <= allowed
                for one, wanted in zip(one_by_one(together), expected, strict=True)
                for name in names
            ):
                return opened, onnx_costs.measure(opened, path, inputs, free=True)
        except Exception:  # a model that was made for one sample may raise anything
            continue
    return None


def _reshaping_any_batch(file: OnnxFile, path: Sequence[NodeProto]) -> ModelProto:
    """The model in which every Reshape of data to a constant shape ``[1, ...]`` reshapes it to ``[0, ...]``.

    Zero copies the length of that axis, which is the batch where the model keeps the batch first.
    """
    onnx = the_package()
    proto = editable(file.proto)
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    of_data = {name for node in path for name in node.output}
    for node in proto.graph.node:
        exact = any(attribute.name == "allowzero" and attribute.i for attribute in node.attribute)
        if node.op_type != "Reshape" or exact or node.output[0] not in of_data or node.input[1] not in constants:
            continue
        sizes = onnx.numpy_helper.to_array(constants[node.input[1]]).copy()
        if sizes.ndim == 1 and len(sizes) > 1 and sizes[0] == 1:
            sizes[0] = 0
            node.input[1] = f"{node.output[0]}_of_any_batch"
            proto.graph.initializer.append(onnx.numpy_helper.from_array(sizes, node.input[1]))
    return proto
