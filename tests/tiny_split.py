"""A split folder of two ONNX operators a side, without torch: what the tests of the wire and the processes serve."""

import time
from contextlib import contextmanager

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cutlayer.cloud.service import Service
from cutlayer.defenses.base import Defense
from cutlayer.edge.client import Edge
from cutlayer.edge.pipeline import Pipeline
from cutlayer.models.manifest import Manifest, sha256
from cutlayer.spec import TensorSpec, image_spec
from cutlayer.split_folder import open_split
from cutlayer.wire.codecs.raw import Raw
from cutlayer.wire.connect import connect, listen
from cutlayer.wire.transport import Timeouts

INPUT = image_spec(1, 6, 6)
SMASHED = TensorSpec((2, 6, 6), "float32", 0.0)
CLASSES = 3
PATIENCE = Timeouts(connect_s=5.0, request_s=20.0)
ADDRESSES = {"grpc": "grpc://127.0.0.1:0", "zmq": "zmq://127.0.0.1:0", "inprocess": "inprocess://tiny"}


def images(n, seed=0):
    return np.random.default_rng(seed).random((n, *INPUT.shape), np.float32)


def write_split(folder, seed=0, defense=None, data=None, input=INPUT, channels=2, classes=CLASSES):
    """Head: convolution and ReLU, to 2x6x6. Tail: flatten and one linear layer, to 3 classes."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    smashed = TensorSpec((channels, *input.shape[1:]), "float32", 0.0)
    kernel = numpy_helper.from_array(rng.normal(size=(channels, input.shape[0], 3, 3)).astype(np.float32), "kernel")
    weight = numpy_helper.from_array(rng.normal(size=(smashed.size, classes)).astype(np.float32), "weight")
    head = [
        helper.make_node("Conv", ["image", "kernel"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["features"], ["smashed"]),
    ]
    tail = [
        helper.make_node("Flatten", ["smashed"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
    ]
    write_model(folder / "head.onnx", head, ("image", input.shape), ("smashed", smashed.shape), [kernel])
    write_model(folder / "tail.onnx", tail, ("smashed", smashed.shape), ("logits", (classes,)), [weight])
    files = {name: sha256(folder / name) for name in ("head.onnx", "tail.onnx")}
    manifest = Manifest("tiny", "relu", classes, input, smashed, defense or {"name": "none"}, data, files)
    manifest.save(folder)
    return manifest


def write_model(path, nodes, given, wanted, weights):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape]) for name, shape in (given, wanted)]
    graph = helper.make_graph(nodes, path.stem, values[:1], values[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))


@contextmanager
def serving(folder, transport, tail=None, tap=None, timeouts=PATIENCE):
    """A server of the folder in this process, and a client's transport to it."""
    manifest = open_split(folder).manifest
    service = Service(manifest, tail or open_split(folder).tail(threads=1), tap)
    server = listen(ADDRESSES[transport], service, timeouts)
    client = connect(str(server.address), timeouts)
    try:
        yield client
    finally:
        client.close()
        server.close()
        service.drain()


def edge_at(folder, client, defense=None, codec=None, timeouts=PATIENCE):
    pipeline = Pipeline(open_split(folder).head(), defense or Defense(), codec or Raw())
    return Edge(open_split(folder).manifest, pipeline, client, timeouts)


def slowed(function, seconds):
    """The same function, later."""

    def slow(*args):
        time.sleep(seconds)
        return function(*args)

    return slow
