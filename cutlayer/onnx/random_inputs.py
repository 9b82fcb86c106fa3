"""Random inputs of a model, by name and type, and the range of whole numbers that it can take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.onnx.types import BOUNDS
from cutlayer.spec import TensorSpec
from cutlayer.tensors import random

if TYPE_CHECKING:
    from onnx import ModelProto

Bounds = tuple[float | None, float | None]

TRIED = ((0.0, 255.0), (1.0, 1.0), (0.0, 1.0), (0.0, 0.0))
"""Whole numbers that are tried where the file does not show how many there are; a length must be at least 1."""

_TAKE_ROWS = ("Cast", "Identity", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "Transpose")


def arrays(specs: Mapping[str, TensorSpec], seed: int) -> dict[str, NDArray[Any]]:
    """Random values of each input, in its whole shape."""
    rng = np.random.default_rng(seed)
    return {name: np.asarray(random(spec, 1, rng)[0]) for name, spec in specs.items()}


def ranges(model: ModelProto, dtypes: Mapping[str, str]) -> Iterator[dict[str, Bounds]]:
    """The least and greatest value of each input, the likeliest first.

    Whole numbers that select a row of a table, such as words, are those of its rows; others are tried.
    """
    known: dict[str, Bounds] = {}
    unknown = []
    for name, dtype in dtypes.items():
        if dtype not in BOUNDS:
            known[name] = (None, None)
        elif dtype in ("bool", "uint8"):
            known[name] = BOUNDS[dtype]
        elif rows := _rows(model, name):
            known[name] = (0.0, float(rows - 1))
        else:
            unknown.append(name)
    for low, high in TRIED if unknown else TRIED[:1]:
        yield known | {name: (low, min(high, BOUNDS[dtypes[name]][1])) for name in unknown}


def _rows(model: ModelProto, name: str) -> int | None:
    """Rows of the smallest constant table of which an input selects some; None where it selects none."""
    rows = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if tensor.dims}
    selecting = {name}
    found = []
    for node in model.graph.node:
        if node.op_type == "Gather" and len(node.input) > 1 and node.input[1] in selecting and node.input[0] in rows:
            found.append(int(rows[node.input[0]]))
        elif node.op_type in _TAKE_ROWS and node.input[0] in selecting:
            selecting |= set(node.output)
    return min(found, default=None)
