"""What an ONNX file claims, checked before anything is allocated, opened or run: sizes, other files, its own functions.

The libraries check some of this, each version something else.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from cutlayer.errors import SplitError
from cutlayer.foreign import shown
from cutlayer.onnx.protos import the_package
from cutlayer.onnx.seams import bodies

if TYPE_CHECKING:
    from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto

MOST_ELEMENTS = 1 << 40
"""Elements of one tensor, at most; no file of 2 GiB holds as many."""

MOST_INLINED = 1_000_000
"""Nodes once all local functions are inlined, as ONNX Runtime does when it opens a file."""

OF_PROCESSOR = ("com.microsoft.nchwc", "com.ms.internal.nhwc")
"""Domains of operators on tensors whose axes are in the order, or in blocks of the size, that one processor likes."""

_OF_PROCESSOR_TYPES = ("ReorderInput", "ReorderOutput", "NhwcFusedConv")

_NUMBERS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")


def check_claims(path: Path, model: ModelProto) -> None:
    """Refuse a model that claims what is not there, or that grows out of all proportion when it is opened.

    Args:
        path: Path of the file.
        model: The model, external data not loaded.

    Raises:
        SplitError: A tensor has fewer bytes than elements, its data lies outside the folder or in no regular file, the
            local functions call each other in a circle or stand for too many nodes, or the file was optimized for one
            kind of processor.
    """
    for tensor in _tensors(model):
        reason = _missing(path.parent, tensor)
        if reason is not None:
            raise SplitError(
                f"{shown(path)} claims a tensor '{shown(tensor.name)}' {reason}; copy it with all its files again, or "
                "export it as one file."
            )
    for node in _nodes(model):
        if node.domain in OF_PROCESSOR or (node.domain and node.op_type in _OF_PROCESSOR_TYPES):
            raise SplitError(
                f"{shown(path)} was optimized by ONNX Runtime for one kind of processor, and its tensors are "
                "channel-blocked: other machines cannot run it, and attacks cannot read them; cut the file that it was "
                "made from, or optimize that with the level extended at most."
            )
    count = _inlined(path, model)
    if count > MOST_INLINED:
        raise SplitError(
            f"{shown(path)} stands for {_number(count)} nodes once its local functions are inlined, as ONNX Runtime "
            f"does, and {MOST_INLINED:,} are the most that are cut; export it without local functions."
        )


def _missing(folder: Path, tensor: TensorProto) -> str | None:
    """What is wrong with the size or the place of a tensor's data, as the end of a sentence; None if nothing is."""
    onnx = the_package()
    if len(tensor.dims) > 64 or any(length < 0 for length in tensor.dims) or prod(tensor.dims) > MOST_ELEMENTS:
        return f"of {shown('x'.join(map(str, tensor.dims)), 60)} elements, which no file holds"
    count = prod(tensor.dims)
    bits = _bits(tensor.data_type)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return _missing_outside(folder, tensor, None if bits is None else -(-count * bits // 8))
    if tensor.HasField("raw_data"):
        held, wanted = len(tensor.raw_data), None if bits is None else -(-count * bits // 8)
        if wanted is not None and held != wanted:
            return f"of {count:,} elements, and holds {held:,} bytes of {wanted:,}"
        return None
    held = max(len(getattr(tensor, name)) for name in _NUMBERS)
    # Types of few bits come two to a number, and complex numbers in two.
    if held * 2 < count or (held and not count):
        return f"of {count:,} elements, and holds {held:,}"
    return None


def _missing_outside(folder: Path, tensor: TensorProto, wanted: int | None) -> str | None:
    """What is wrong with data in another file, which must be a regular file in the folder of the model."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    try:
        offset, length = (int(entries.get(key) or 0) for key in ("offset", "length"))
    except ValueError:
        return "whose data has an offset or a length that is no number"
    parts = Path(location).parts
    if not parts or Path(location).is_absolute() or ".." in parts or "\0" in location:
        return f"whose data is in '{shown(location, 80)}', which is not in the folder of the model"
    place = folder
    try:
        # Also no folder on the way there may be a link.
        for part in parts:
            place = place / part
            if stat.S_ISLNK(place.lstat().st_mode):
                return f"whose data is in '{shown(location, 80)}', which is a link"
        status = place.stat()
    except OSError as error:
        return f"whose data is in '{shown(location, 80)}': {str(error.strerror).lower()}"
    if not stat.S_ISREG(status.st_mode):
        return f"whose data is in '{shown(location, 80)}', which is no regular file"
    if offset < 0 or length < 0 or offset + max(length, wanted or 0) > status.st_size:
        return f"whose data is not all in '{shown(location, 80)}', a file of {status.st_size:,} bytes"
    if length and wanted is not None and length != wanted:
        return f"of {wanted:,} bytes, and {length:,} in '{shown(location, 80)}'"
    return None


def _bits(data_type: int) -> int | None:
    """Bits of one element as raw data; None for strings and for types that the package does not know."""
    onnx = the_package()
    name = next((name for name, number in onnx.TensorProto.DataType.items() if number == data_type), "")
    if name in ("UINT4", "INT4", "FLOAT4E2M1"):
        return 4
    if name in ("UINT2", "INT2"):
        return 2
    if name in ("", "UNDEFINED", "STRING"):
        return None
    return int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize) * 8


def _nodes(model: ModelProto) -> Iterator[NodeProto]:
    """All nodes, also those in bodies and in local functions."""
    left: list[GraphProto | FunctionProto] = [model.graph, *model.functions]
    while left:
        for node in left.pop().node:
            yield node
            left += bodies(node)


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """All tensors of constants, also those in bodies and local functions, and the dense shape of huge sparse ones."""
    onnx = the_package()
    graphs = [model.graph]
    for node in _nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        graphs += bodies(node)
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
            # As dense, which is what ONNX Runtime makes of it.
            if prod(sparse.dims) > MOST_ELEMENTS or any(length < 0 for length in sparse.dims):
                yield onnx.TensorProto(name=sparse.values.name, dims=sparse.dims)


def _inlined(path: Path, model: ModelProto) -> int:
    """Number of nodes of the main graph once local functions are inlined."""
    functions = {(function.domain, function.name): function for function in model.functions}
    sizes: dict[tuple[str, str], int] = {}
    running: set[tuple[str, str]] = set()

    def calls(part: GraphProto | FunctionProto) -> Iterator[tuple[str, str]]:
        left = [part]
        while left:
            for node in left.pop().node:
                yield node.domain, node.op_type
                left += bodies(node)

    # Without recursion in Python, whose depth a file could exhaust.
    todo = list(functions)
    while todo:
        name = todo[-1]
        called = [other for other in calls(functions[name]) if other in functions]
        missing = [other for other in dict.fromkeys(called) if other not in sizes]
        if name in sizes or not missing:
            sizes.setdefault(name, sum(sizes.get(other, 1) for other in calls(functions[name])))
            running.discard(name)
            todo.pop()
            continue
        running.add(name)
        if any(other in running for other in missing):
            raise SplitError(
                f"{shown(path)} has a local function '{shown(name[1])}' that calls itself, over others or directly, "
                "which ONNX forbids; export it again."
            )
        todo += missing
    return sum(sizes.get(name, 1) for name in calls(model.graph))


def _number(count: int) -> str:
    return f"{count:,}" if count < 10**12 else f"10^{len(str(count)) - 1}"
