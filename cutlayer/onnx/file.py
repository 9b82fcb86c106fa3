"""Reading an ONNX file: its input and output, or one sentence on why it cannot be cut.

This needs the packages onnx and onnxruntime, not torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import SplitError
from cutlayer.onnx.errors import message, newest
from cutlayer.onnx.protos import open_proto, the_package
from cutlayer.onnx.seams import put_in_order
from cutlayer.onnx.types import FLOATS, dtype_of
from cutlayer.spec import TensorSpec

if TYPE_CHECKING:
    import onnx

MOST_BYTES = 2**31 - 1
"""Greatest size of one ONNX file; the format allows no larger ones."""


@dataclass(frozen=True)
class OnnxFile:
    """A model that ONNX Runtime takes, with one input and one output.

    Attributes:
        path: Path of the file.
        proto: The model, external data included, its nodes in an order in which they can run. It is never changed.
        image: Name of its input.
        logits: Name of its output.
        input: One sample of the input, in [0, 1].
        takes: Type of the input.
        gives: Type of the output.
    """

    path: Path
    proto: onnx.ModelProto
    image: str
    logits: str
    input: TensorSpec
    takes: str = "float32"
    gives: str = "float32"


def read(path: Path, input: TensorSpec | None = None) -> OnnxFile:
    """Read a model and open it once in ONNX Runtime.

    Args:
        path: Path of the file.
        input: One sample, for a file that leaves its shape open; only its shape is used.

    Raises:
        ConfigError: The package onnx or ONNX Runtime is not installed.
        SplitError: The file is missing, damaged, of an unknown opset, has several inputs or outputs, or its input is no
            batch of float32 samples of a known shape.
    """
    path = Path(path)
    onnx = the_package()
    if not path.is_file():
        raise SplitError(f"There is no file {path}; name an ONNX file, or a model from `cutlayer list models`.")
    try:
        proto = onnx.load(path)
        n_bytes = proto.ByteSize()
        # A copy checks all strings now; broken ones would be noticed much later.
        onnx.GraphProto(name=proto.graph.name, node=proto.graph.node)
        onnx.ModelProto(producer_name=proto.producer_name, producer_version=proto.producer_version)
    except Exception as error:  # the errors of protobuf, onnx and the files of external data have no common base
        raise SplitError(
            f"{path} cannot be read as an ONNX model: {message(error)}; is it damaged or cut short?"
        ) from None
    if not proto.graph.node:
        raise SplitError(f"{path} cannot be read as an ONNX model: it has no graph; is it damaged or cut short?")
    if n_bytes > MOST_BYTES:
        raise SplitError(f"{path} is larger than the 2 GiB of one ONNX file; cut it with other tools.")
    try:
        session = open_proto(proto)
        inputs, outputs = (
            [(v.name, v.type, v.shape) for v in get()] for get in (session.get_inputs, session.get_outputs)
        )
    except Exception as error:  # the errors of ONNX Runtime have no common base but this
        if limit := newest(error):
            raise SplitError(
                f"{path} is of {_opsets(proto)}, and the installed ONNX Runtime supports up to {limit}; export it "
                "again for that, or install a newer onnxruntime."
            ) from None
        raise SplitError(
            f"ONNX Runtime cannot open {path} ({_opsets(proto)}): {message(error)}; export it again with an opset and "
            "operators that it supports."
        ) from None
    if len(inputs) != 1 or len(outputs) != 1:
        names = [", ".join(name for name, _, _ in values) for values in (inputs, outputs)]
        raise SplitError(
            f"{path} takes {names[0]} and gives {names[1]}; only a model with one input and one output can be cut."
        )
    ((image, kind, shape),) = inputs
    ((logits, gives, _),) = outputs
    takes = dtype_of(kind)
    if takes not in FLOATS and takes != "uint8":
        raise SplitError(f"{path} takes {image} as {kind}; only images are sent here, as float32 or uint8.")
    put_in_order(proto.graph)
    return OnnxFile(path, proto, image, logits, _sample(path, shape, input), takes, dtype_of(gives))


def _sample(path: Path, axes: Sequence[int | str | None], stated: TensorSpec | None) -> TensorSpec:
    """One sample of an input with these axes, of the shape that the user states where the file leaves it open."""
    shown = "x".join("?" if axis is None else str(axis) for axis in axes) or "an unknown number of axes"
    if axes and len(axes) < 2:
        raise SplitError(f"{path} takes an input of shape {shown}; the first axis must be the batch, others follow.")
    if axes and isinstance(axes[0], int) and axes[0] != 1:
        raise SplitError(f"{path} takes {shown}, {axes[0]} samples at a time; export it for one sample, or any number.")
    sizes = list(axes[1:])
    if stated is not None:
        fits = not axes or (
            len(sizes) == len(stated.shape)
            and all(size == length for size, length in zip(sizes, stated.shape, strict=True) if isinstance(size, int))
        )
        if not fits:
            raise SplitError(
                f"{path} takes {shown}, batch first, and not samples of {stated}; leave out --input, or "
                "take data of that shape."
            )
        sizes = list(stated.shape)
    if not sizes or not all(isinstance(size, int) for size in sizes):
        raise SplitError(f"{path} leaves the shape of its input open ({shown}); state it, as in --input 3x224x224.")
    return TensorSpec(tuple(int(size or 0) for size in sizes), "float32", 0.0, 1.0)


def _opsets(proto: onnx.ModelProto) -> str:
    opsets = ", ".join(f"{entry.domain or 'opset'} {entry.version}" for entry in proto.opset_import)
    return f"IR version {proto.ir_version}, {opsets or 'no opset'}"


def samples(spec: TensorSpec, count: int) -> NDArray[np.float32]:
    """Random samples between 0 and 1, the same at each call: ``(count, *spec.shape)``."""
    return np.random.default_rng(0).random((count, *spec.shape), np.float32)
