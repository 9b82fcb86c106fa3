"""Reading an ONNX file: its input and output, or one sentence on why it cannot be cut.

This needs the packages onnx and onnxruntime, not torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import ConfigError, SplitError
from cutlayer.onnx.errors import message, newest
from cutlayer.onnx.seams import put_in_order
from cutlayer.spec import TensorSpec

if TYPE_CHECKING:
    import onnx
    import onnxruntime

MOST_BYTES = 2**31 - 1
"""Greatest size of one ONNX file; the format allows no larger ones."""


@dataclass(frozen=True)
class OnnxFile:
    """A model that ONNX Runtime takes, with one float32 input and one output.

    Attributes:
        path: Path of the file.
        proto: The model, external data included, its nodes in an order in which they can run. It is never changed.
        image: Name of its input.
        logits: Name of its output.
        input: One sample of the input, in [0, 1].
    """

    path: Path
    proto: onnx.ModelProto
    image: str
    logits: str
    input: TensorSpec


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
    if kind != "tensor(float)":
        raise SplitError(f"{path} takes {image} as {kind}; images are float32 here, export it with a float32 input.")
    put_in_order(proto.graph)
    return OnnxFile(path, proto, image, outputs[0][0], _sample(path, shape, input))


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


def editable(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy to be changed, in which no initializer has to be an input as well, as before version 4."""
    copy: onnx.ModelProto = the_package().ModelProto()
    copy.CopyFrom(proto)
    copy.ir_version = max(copy.ir_version, 4)
    return copy


def open_proto(proto: onnx.ModelProto, *, plain: bool = False) -> onnxruntime.InferenceSession:
    """A session of one thread that logs nothing. It raises the errors of ONNX Runtime.

    Args:
        proto: The model.
        plain: Turn off optimization, so that two models with the same nodes agree to the bit.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"], enable_fallback=0
    )


def run(
    session: onnxruntime.InferenceSession, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]
) -> list[NDArray[Any]]:
    """Compute the outputs of these names, with nothing on standard error if it fails."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    return session.run(list(outputs), dict(inputs), options)  # type: ignore[no-any-return]


def samples(spec: TensorSpec, count: int) -> NDArray[np.float32]:
    """Random samples between 0 and 1, the same at each call: ``(count, *spec.shape)``."""
    return np.random.default_rng(0).random((count, *spec.shape), np.float32)


def the_package() -> ModuleType:
    """The package onnx, which a device does not need.

    Raises:
        ConfigError: The package is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise ConfigError("Cutting an ONNX file needs the package onnx; install cutlayer[cut].") from None
    return onnx  # type: ignore[no-any-return]
