"""ONNX files with bytes changed, cut out, repeated or taken from elsewhere: each is cut or refused in one sentence."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx

from cutlayer.errors import SplitError
from cutlayer.machine.confined import Limits, confined
from cutlayer.onnx.graph import checked, survey
from tests.onnx.hostile_models import nested_branches
from tests.onnx.onnx_models import chain

LIMITS = Limits(seconds=60.0, gigabytes=4.0)
"""The limits of all files of one child together."""

AT_ONCE = 50

EXTREMES = (0, 1, 2, -1, -2, 7, 255, 1 << 20, 1 << 31, (1 << 31) - 1, 1 << 40, (1 << 63) - 1, -(1 << 63))


def fuzz(folder: Path, n: int, seed: int) -> Counter[str]:
    """Return how many of `n` spoiled files were cut, refused, and ended the process or took too long.

    Raises:
        AssertionError: Another error than SplitError, or more than one sentence.
    """
    corpus = [build(folder / f"{build.__name__}.onnx").read_bytes() for build in (chain, nested_branches)]
    path, outcomes = folder / "spoiled.onnx", Counter[str]()
    for begin in range(0, n, AT_ONCE):
        count = min(AT_ONCE, n - begin)
        files = list(_spoiled(corpus, count, [seed, begin]))
        # One child for many files is quick; when one of them ends it, each is tried by itself.
        try:
            outcomes += Counter(confined(lambda files=files: [_cut(path, data) for data in files], LIMITS, path))  # type: ignore[misc]
        except SplitError:
            for data in files:
                try:
                    outcomes += Counter(confined(lambda data=data: [_cut(path, data)], LIMITS, path))  # type: ignore[misc]
                except SplitError as error:
                    outcomes[str(error).partition(" (")[0].rpartition("onnx ")[2][:40]] += 1
    return outcomes


def _cut(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    try:
        checked(survey(path))
    except SplitError as error:
        sentence = str(error)
        assert len(sentence.splitlines()) == 1, sentence
        assert sentence.isprintable(), sentence
        return "refused"
    return "cut"


def _spoiled(corpus: list[bytes], n: int, seed: list[int]) -> list[bytes]:
    rng = np.random.default_rng(seed)
    ways = (_bytes_spoiled, _described_wrongly)
    return [ways[number % 2](corpus[rng.integers(len(corpus))], corpus, rng) for number in range(n)]


def _bytes_spoiled(data: bytes, corpus: list[bytes], rng: np.random.Generator) -> bytes:
    for _ in range(int(rng.integers(1, 4))):
        at, length = int(rng.integers(len(data) + 1)), int(rng.integers(1, 64))
        match int(rng.integers(6)):
            case 0:
                data = data[:at] if rng.random() < 0.2 else data[:at] + data[at + length :]
            case 1:
                data = data[:at] + rng.bytes(length) + data[at:]
            case 2:
                data = data[: at + length] + data[at:]
            case 3:
                other = corpus[rng.integers(len(corpus))]
                begin = int(rng.integers(len(other)))
                data = data[:at] + other[begin : begin + length] + data[at + length :]
            case 4:
                # The largest number of ten bytes, as a length of an axis or of a message.
                data = data[:at] + b"\xff" * 9 + b"\x01" + data[at + 1 :]
            case _:
                data = data[:at] + bytes([int(rng.integers(256))]) + data[at + 1 :]
    return data


def _described_wrongly(data: bytes, _: list[bytes], rng: np.random.Generator) -> bytes:
    """A model that can be parsed, with nodes, attributes, shapes, types or names that are wrong."""
    model = onnx.ModelProto.FromString(data)
    graph = model.graph
    for _number in range(int(rng.integers(1, 4))):
        node = graph.node[rng.integers(len(graph.node))]
        names = [name for other in graph.node for name in (*other.input, *other.output) if name]
        name = names[rng.integers(len(names))]
        weights = graph.initializer[rng.integers(len(graph.initializer))]
        extreme = EXTREMES[rng.integers(len(EXTREMES))]
        match int(rng.integers(9)):
            case 0 if node.input:
                node.input[rng.integers(len(node.input))] = name
            case 1:
                node.output[0] = name
            case 2:
                node.op_type = graph.node[rng.integers(len(graph.node))].op_type
            case 3:
                weights.dims[:] = [*weights.dims, extreme]
            case 4:
                weights.data_type = int(rng.integers(-1, 30))
            case 5 if node.attribute:
                attribute = node.attribute[rng.integers(len(node.attribute))]
                attribute.ints[:] = [extreme for _ in attribute.ints]
                attribute.i = extreme
            case 6:
                node.attribute.add(name="axis", type=onnx.AttributeProto.INT, i=extreme)
            case 7:
                ends = (graph.input, graph.output)[rng.integers(2)]
                ends[0].type.tensor_type.shape.dim.add(dim_value=extreme)
            case _:
                graph.node.add().CopyFrom(node)
    return model.SerializeToString()
