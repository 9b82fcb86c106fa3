"""Models of the package onnx: copied, opened in ONNX Runtime, and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from cutlayer.errors import ConfigError
from cutlayer.onnx.session import runtime

if TYPE_CHECKING:
    import onnx
    import onnxruntime


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


def editable(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy to be changed, in which no initializer has to be an input as well, as before version 4."""
    copy: onnx.ModelProto = the_package().ModelProto()
    copy.CopyFrom(proto)
    copy.ir_version = max(copy.ir_version, 4)
    return copy


def open_proto(proto: onnx.ModelProto, *, plain: bool = False) -> onnxruntime.InferenceSession:
    """A session of one thread. It raises the errors of ONNX Runtime.

    Args:
        proto: The model.
        plain: Turn off optimization, so that two models with the same nodes agree to the bit.
    """
    onnxruntime = runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"], enable_fallback=0
    )


def run(
    session: onnxruntime.InferenceSession, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]
) -> list[NDArray[Any]]:
    """Compute the outputs of these names."""
    return session.run(list(outputs), dict(inputs))  # type: ignore[no-any-return]


def opset(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
