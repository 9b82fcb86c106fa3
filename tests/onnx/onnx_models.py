"""ONNX files as others write them, made of a few operators each."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cutlayer.onnx import graph as onnx_graph


def weights(name, *shape):
    """The same for the same name."""
    rng = np.random.default_rng(list(name.encode()))
    return numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)


def write(
    path, nodes, initializers=(), *, given=("image", ["N", 3, 8, 8]), wanted=("logits", ["N", 10]), opset=17, ir=8,
    types=(TensorProto.FLOAT, TensorProto.FLOAT), functions=(),
):  # fmt: skip
    """Save a model of one input and one output; `nodes` are ``(operator, inputs, outputs, attributes)``."""
    made = [
        node
        if isinstance(node, onnx.NodeProto)
        else helper.make_node(
            node[0], node[1].split(), node[2].split(), name=f"n_{node[2].split()[0]}", **dict(*node[3:])
        )
        for node in nodes
    ]
    ends = [
        helper.make_tensor_value_info(name, kind, shape)
        for (name, shape), kind in zip((given, wanted), types, strict=True)
    ]
    graph = helper.make_graph(made, "model", ends[:1], ends[1:], list(initializers))
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(f.domain, 1) for f in functions)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir, functions=list(functions))
    onnx.save(model, str(path))
    return path


def split_onnx(path, cut, out, input=None, **options):
    """Survey a file and write the split folder."""
    return onnx_graph.write(onnx_graph.survey(path, input), cut, out, **options)


def chain(path, channels=3, **options):
    """conv - relu - residual block - relu - pool - flatten - gemm."""
    return write(
        path,
        [
            ("Conv", "image k1", "c1", {"pads": [1, 1, 1, 1]}),
            ("Relu", "c1", "r1"),
            ("Conv", "r1 k2", "c2", {"pads": [1, 1, 1, 1]}),
            ("Conv", "r1 k2", "c3", {"pads": [1, 1, 1, 1]}),
            ("Add", "c2 c3", "sum"),
            ("Relu", "sum", "r2"),
            ("GlobalAveragePool", "r2", "pooled"),
            ("Flatten", "pooled", "flat"),
            ("Gemm", "flat w b", "logits"),
        ],
        [weights("k1", 4, channels, 3, 3), weights("k2", 4, 4, 3, 3), weights("w", 4, 10), weights("b", 10)],
        **options,
    )
