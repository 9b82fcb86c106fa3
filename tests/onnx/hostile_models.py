"""Small ONNX files that ask for much more than they hold: time, memory, other files. `BUILDERS` makes them by name."""

import os

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.onnx.onnx_models import FOUR, branches, chain, node_of, weights, write

FAR = 1 << 40
"""Elements of a tensor that no machine holds."""


def int64(name, value):
    return numpy_helper.from_array(np.array(value, np.int64), name)


def functions_in_functions(path):
    """Thirty local functions, each of which calls the one before it twice: 2^30 nodes once they are inlined."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ours", 1)]
    made = [helper.make_function("ours", "F0", ["a"], ["c"], [helper.make_node("Neg", ["a"], ["c"])], opsets)]
    for i in range(1, 30):
        calls = [helper.make_node(f"F{i - 1}", [x], [y], domain="ours") for x, y in (("a", "b"), ("b", "c"))]
        made.append(helper.make_function("ours", f"F{i}", ["a"], ["c"], calls, opsets))
    nodes = ["r = Relu image", helper.make_node("F29", ["r"], ["logits"], domain="ours")]
    return write(path, nodes, **FOUR, functions=made)


def function_of_itself(path):
    call = [helper.make_node("F", ["a"], ["c"], domain="ours")]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ours", 1)]
    made = helper.make_function("ours", "F", ["a"], ["c"], call, opsets)
    return write(path, [helper.make_node("F", ["image"], ["logits"], domain="ours")], **FOUR, functions=[made])


def _loop(path, first, trips):
    body = helper.make_graph(
        [helper.make_node("Identity", ["go_in"], ["go_out"]), helper.make_node("Neg", ["x_in"], ["x_out"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x_in", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x_out", TensorProto.FLOAT, None),
        ],
    )
    go = numpy_helper.from_array(np.array(True), "go")
    nodes = [*first[0], (f"x = Loop trips go {first[1]}", {"body": body}), "logits = Add x image"]
    return write(path, nodes, [int64("trips", trips), go, weights("w", 1, 4)], **FOUR)


def loop_without_end(path):
    """2^62 trips over what the image gives."""
    return _loop(path, (["r = Relu image"], "r"), 1 << 62)


def constant_loop_without_end(path):
    """2^62 trips over a constant, which an optimizer may compute when it opens the file."""
    return _loop(path, ([], "w"), 1 << 62)


def nested_branches(path):
    """Twenty conditions, one inside the other, each about the image."""
    inner = helper.make_node("Neg", ["r"], ["inner"])
    value = [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)]
    for _ in range(20):
        graph = helper.make_graph([inner], "then", [], value)
        inner = helper.make_node("If", ["low"], ["inner"], then_branch=graph, **_else())
    nodes = ["r = Relu image", ("total = ReduceSum r", {"keepdims": 0}), "low = Less total zero", inner,
             "logits = Abs inner"]  # fmt: skip
    return write(path, nodes, [numpy_helper.from_array(np.array(1, np.float32), "zero")], **FOUR)


def _else():
    return {"else_branch": branches("r r")["else_branch"]}


def many_branches(path):
    """A hundred and twenty conditions one after the other, whose branches call their tensors the same."""
    nodes, last = [], "image"
    for i in range(120):
        nodes.append((f"x{i} = If yes", branches(f"{last} {last}")))
        last = f"x{i}"
    yes = numpy_helper.from_array(np.array(True), "yes")
    return write(path, [*nodes, f"logits = Neg {last}"], [yes], **FOUR)


def huge_constant(path):
    nodes = [
        "c = ConstantOfShape shape", "total = ReduceSum c", "r = Relu image", "logits = Add r total",
    ]  # fmt: skip
    return write(path, nodes, [int64("shape", [FAR])], **FOUR)


def huge_tile(path):
    nodes = ["r = Relu image", "t = Tile r times", ("m = ReduceMean t", {"axes": [0]}), "logits = Add m image"]
    return write(path, nodes, [int64("times", [1 << 20, 1 << 20])], **FOUR)


def huge_expand(path):
    nodes = ["r = Relu image", "t = Expand r shape", ("logits = ReduceMean t", {"axes": [0], "keepdims": 0})]
    return write(path, nodes, [int64("shape", [1 << 38, 1, 4])], **FOUR)


def huge_resize(path):
    resize = helper.make_node("Resize", ["r", "", "", "sizes"], ["t"])
    nodes = ["r = Relu image", resize, "logits = GlobalAveragePool t"]
    return write(
        path, nodes, [int64("sizes", [1, 3, 1 << 20, 1 << 20])], wanted=("logits", ["N", 3, 1, 1])
    )  # fmt: skip


def huge_pad(path):
    nodes = ["r = Relu image", "t = Pad r pads", ("logits = ReduceMean t", {"axes": [1]})]
    return write(path, nodes, [int64("pads", [0, 0, 0, FAR])], given=FOUR["given"], wanted=("logits", ["N", 1]))


def huge_range(path):
    nodes = ["c = Range zero far one", "f = ReduceSum c", ("g = Cast f", {"to": TensorProto.FLOAT}),
             "r = Relu image", "logits = Add r g"]  # fmt: skip
    return write(path, nodes, [int64("zero", 0), int64("far", 1 << 62), int64("one", 1)], **FOUR)


def huge_image(path):
    return write(path, ["r = Relu image", ("logits = ReduceMean r", {"axes": [2, 3], "keepdims": 0})],
                 given=("image", [1, 3, 1 << 30, 1 << 30]), wanted=("logits", [1, 3]))  # fmt: skip


def _changed(path, change):
    model = onnx.load(chain(path))
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def claimed_weights(path):
    """Weights of a terabyte that are not in the file."""

    def change(model):
        model.graph.initializer[0].dims[:] = [FAR, 3, 3, 3]
        model.graph.initializer[0].raw_data = b""

    return _changed(path, change)


def negative_weights(path):
    def change(model):
        model.graph.initializer[0].dims[:] = [-4, -3, 3, 3]

    return _changed(path, change)


def overflowing_weights(path):
    """A product of lengths that is the right number of elements modulo 2^64."""

    def change(model):
        model.graph.initializer[0].dims[:] = [1 << 32, 1 << 32, 1, 108]

    return _changed(path, change)


def sparse_weights(path):
    """Three numbers that stand for a dense matrix of terabytes."""

    def change(model):
        del model.graph.initializer[2]
        values = numpy_helper.from_array(np.ones(3, np.float32), "w")
        places = int64("places", [0, 1, 2])
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [FAR, 10]))

    return _changed(path, change)


def deep_message(path):
    """A protobuf message in a message, a thousand times."""
    data = b""
    for _ in range(1000):
        length, size = b"", len(data)
        while size > 0x7F:
            length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
        data = b"\x32" + length + bytes([size]) + data  # field 6, which is graph.node.attribute.g in turn
    path.write_bytes(b"\x08\x08\x3a" + b"\xff\xff\x03" + data)
    return path


def empty_nodes(path):
    """Fifty thousand nodes of two bytes each."""
    graph = b"\x0a\x00" * 50_000
    size = len(graph)
    length = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])
    path.write_bytes(b"\x08\x08\x3a" + length + graph)
    return path


def endless_name(path):
    def change(model):
        model.graph.node[0].name = "n" * 5_000_000
        model.graph.node[0].op_type = "Frobnicate\x1b[2J" + "x" * 1_000_000

    return _changed(path, change)


def external(location, length=None, *, make=None):
    """A builder of a file one of whose weights lies in another one."""

    def build(path):
        where = location.format(folder=path.parent)
        if make is not None:
            make(path.parent)

        def change(model):
            tensor = model.graph.initializer[0]
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", where), ("length", length)):
                if value is not None:
                    entry = tensor.external_data.add()
                    entry.key, entry.value = key, str(value)

        return _changed(path, change)

    return build


def beside(folder):
    (folder.parent / "outside.bin").write_bytes(bytes(432))


def linked(folder):
    beside(folder)
    (folder / "linked.bin").symlink_to("../outside.bin")


def fifo(folder):
    os.mkfifo(folder / "fifo.bin")


def folder_of_weights(folder):
    (folder / "folder.bin").mkdir()


def short(folder):
    (folder / "short.bin").write_bytes(bytes(10))


def zeros_without_end(folder):
    (folder / "zero.bin").symlink_to("/dev/zero")


def many_weights(path):
    """A thousand claims of the largest size that is allowed, of a file of none."""

    def change(model):
        for i in range(1000):
            model.graph.initializer.add(name=f"extra{i}", data_type=TensorProto.FLOAT, dims=[1 << 29])

    return _changed(path, change)


def many_ends(path):
    """Three hundred inputs and outputs of one shape."""
    ends = [
        helper.make_tensor_value_info(f"{side}{i}", TensorProto.FLOAT, ["N", 4]) for side in "io" for i in range(300)
    ]
    nodes = [node_of(f"o{i} = Neg i{i}") for i in range(300)]
    model = helper.make_model(helper.make_graph(nodes, "m", ends[:300], ends[300:]),
                              opset_imports=[helper.make_opsetid("", 17)], ir_version=8)  # fmt: skip
    path.write_bytes(model.SerializeToString())
    return path


BUILDERS = {
    build.__name__: build
    for build in (
        functions_in_functions, function_of_itself, loop_without_end, constant_loop_without_end, nested_branches,
        many_branches, huge_constant, huge_tile, huge_expand, huge_resize, huge_pad, huge_range, huge_image,
        claimed_weights, negative_weights, overflowing_weights, sparse_weights, deep_message, empty_nodes,
        endless_name, many_weights, many_ends,
    )
} | {
    "external: above": external("../outside.bin", make=beside),
    "external: absolute": external("{folder}/../outside.bin", make=beside),
    "external: system": external("/etc/passwd"),
    "external: link": external("linked.bin", make=linked),
    "external: fifo": external("fifo.bin", make=fifo),
    "external: folder": external("folder.bin", make=folder_of_weights),
    "external: short": external("short.bin", make=short),
    "external: too long": external("short.bin", FAR, make=short),
    "external: negative": external("short.bin", -5, make=short),
    "external: no number": external("short.bin", "x", make=short),
    "external: absent": external("absent.bin"),
    "external: zeros": external("zero.bin", make=zeros_without_end),
    "external: device": external("/dev/zero", 432),
    "external: nothing": external("", 432),
}  # fmt: skip
