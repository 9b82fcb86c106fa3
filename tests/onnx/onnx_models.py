"""ONNX files as others write them, made of a few operators each."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cutlayer.onnx import graph as onnx_graph
from cutlayer.onnx.given import NOTHING
from cutlayer.onnx.session import runtime
from cutlayer.split_folder import open_split
from cutlayer.tensors import parts, random_batch

FOUR = {"given": ("image", ["N", 4]), "wanted": ("logits", ["N", 4])}
"""Ends of a model of batches of four numbers."""


def weights(name, *shape):
    """The same for the same name."""
    rng = np.random.default_rng(list(name.encode()))
    return numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)


def node_of(text, attributes=None):
    """The node that a text such as ``sum = Add a b`` says, named after its first output; a node stays as it is."""
    if isinstance(text, onnx.NodeProto):
        return text
    outputs, (operator, *inputs) = (side.split() for side in text.split(" = "))
    return helper.make_node(operator, inputs, outputs, name=f"n_{outputs[0]}", **attributes or {})


def write(
    path, nodes, initializers=(), *, given=("image", ["N", 3, 8, 8]), wanted=("logits", ["N", 10]), opset=17, ir=8,
    types=(TensorProto.FLOAT, TensorProto.FLOAT), functions=(),
):  # fmt: skip
    """Save a model of one input and one output; `nodes` are texts, ``(text, attributes)``, or nodes."""
    nodes = [node_of(*node) if isinstance(node, tuple) else node_of(node) for node in nodes]
    ends = [
        helper.make_tensor_value_info(name, kind, shape)
        for (name, shape), kind in zip((given, wanted), types, strict=True)
    ]
    graph = helper.make_graph(nodes, "model", ends[:1], ends[1:], list(initializers))
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(f.domain, 1) for f in functions)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir, functions=list(functions))
    onnx.save(model, str(path))
    return path


def run(path, array, *, optimized=True):
    """The output of a model of one input and one output."""
    onnxruntime = runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: array})[0]


def assert_halves_are_the_whole(path, folder, array, **options):
    """Both halves are valid models, and together they compute what the file computes."""
    smashed = run(folder / "head.onnx", array, **options)
    assert smashed.shape == (len(array), *open_split(folder).manifest.smashed.shape)
    for half in ("head", "tail"):
        onnx.checker.check_model(onnx.load(folder / f"{half}.onnx"), full_check=True)
    logits, expected = run(folder / "tail.onnx", smashed, **options), run(path, array, **options)
    np.testing.assert_allclose(logits, expected.reshape(len(array), -1), rtol=1e-4, atol=1e-5, err_msg=f"{path}")


def assert_split_is_the_whole(path, folder):
    """Head and tail give every output that the file gives, for random inputs of any names, types and shapes."""
    split = open_split(folder)
    for half in ("head", "tail"):
        onnx.checker.check_model(onnx.load(folder / f"{half}.onnx"))
    manifest = split.manifest
    batch = random_batch(manifest.data_inputs, 1, seed=3)
    answers = parts(split.model()(batch), "logits")
    onnxruntime = runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given, feeds = parts(batch, ""), {}
    for value in session.get_inputs():
        array = given.get(value.name, next(iter(given.values())) if len(given) == 1 else None)
        whole = array[0] if array.ndim > len(value.shape) else array
        real = {"tensor(float16)": np.float16, "tensor(double)": np.float64}
        feeds[value.name] = whole.astype(real.get(value.type, whole.dtype))
    names = [value.name for value in session.get_outputs()]
    for name, wanted in zip(names, session.run(names, feeds), strict=True):
        answer = answers["logits" if manifest.ends is None else name]
        if wanted.dtype.kind == "f":
            np.testing.assert_allclose(answer.reshape(-1), wanted.reshape(-1), rtol=1e-3, atol=1e-4, err_msg=f"{path}")
        else:
            np.testing.assert_array_equal(answer.reshape(-1), wanted.reshape(-1), err_msg=f"{path}")


def branches(takes, then="Add", otherwise="Mul"):
    """The bodies of an If, which take tensors from the graph around it."""
    value = [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)]
    return {
        f"{branch}_branch": helper.make_graph([helper.make_node(op, takes.split(), ["inner"])], branch, [], value)
        for branch, op in (("then", then), ("else", otherwise))
    }


def split_onnx(path, cut, out, given=NOTHING, **options):
    """Survey a file and write the split folder."""
    return onnx_graph.write(onnx_graph.survey(path, given), cut, out, **options)


def chain(path, channels=3, **options):
    """conv - relu - residual block - relu - pool - flatten - gemm."""
    return write(
        path,
        [
            ("c1 = Conv image k1", {"pads": [1, 1, 1, 1]}),
            "r1 = Relu c1",
            ("c2 = Conv r1 k2", {"pads": [1, 1, 1, 1]}),
            ("c3 = Conv r1 k2", {"pads": [1, 1, 1, 1]}),
            "sum = Add c2 c3",
            "r2 = Relu sum",
            "pooled = GlobalAveragePool r2",
            "flat = Flatten pooled",
            "logits = Gemm flat w b",
        ],
        [weights("k1", 4, channels, 3, 3), weights("k2", 4, 4, 3, 3), weights("w", 4, 10), weights("b", 10)],
        **options,
    )
