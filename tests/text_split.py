"""A split folder whose head looks up a vector for each token, without torch: what tests of rooms of sentences serve."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cutlayer.data.documentation import LENGTH, PACKAGES, own_tokenizer
from cutlayer.data.text import Tokenizer
from cutlayer.models.manifest import Manifest, sha256
from cutlayer.sequences import PAD
from cutlayer.spec import TensorSpec, token_spec

WIDTH = 256


def write_text_split(folder, defense=None, tokenizer=None, width=WIDTH):
    """Head: a vector for each token, zero for padding. Tail: the sum of the vectors, and one linear layer.

    The tokenizer is the content of a tokenizer.json; that of the data set documentation if None.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content, classes = tokenizer or own_tokenizer(), len(PACKAGES)
    vocabulary = Tokenizer(content, "here").size
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(vocabulary, width)).astype(np.float32)
    vectors[PAD] = 0
    table = numpy_helper.from_array(vectors, "vectors")
    weight = numpy_helper.from_array(rng.normal(size=(width, classes)).astype(np.float32), "weight")
    axis = numpy_helper.from_array(np.array([1]), "axis")
    tokens = helper.make_tensor_value_info("tokens", TensorProto.INT64, ["N", "T"])
    smashed = helper.make_tensor_value_info("smashed", TensorProto.FLOAT, ["N", "T", width])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes])
    look_up = helper.make_node("Gather", ["vectors", "tokens"], ["smashed"])
    tail = [
        helper.make_node("ReduceSum", ["smashed", "axis"], ["sum"], keepdims=0),
        helper.make_node("MatMul", ["sum", "weight"], ["logits"]),
    ]
    write(folder / "head.onnx", [look_up], tokens, smashed, [table])
    write(folder / "tail.onnx", tail, smashed, logits, [axis, weight])
    (folder / "tokenizer.json").write_text(content, encoding="utf-8")
    files = {name: sha256(folder / name) for name in ("head.onnx", "tail.onnx", "tokenizer.json")}
    Manifest(
        "lookup", "vectors", classes, token_spec(LENGTH, vocabulary), TensorSpec((LENGTH, width)),
        defense or {"name": "none"}, "documentation", files, sequence=True,
    ).save(folder)  # fmt: skip


def write(path, nodes, given, wanted, weights):
    graph = helper.make_graph(nodes, path.stem, [given], [wanted], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
