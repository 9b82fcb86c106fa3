"""Opening one half of a model in ONNX Runtime, the head on the device or the tail on the server."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import ConfigError, DataError, SplitError
from cutlayer.onnx.errors import message
from cutlayer.own import recordable
from cutlayer.spec import TensorSpec
from cutlayer.tensors import join, parts, zeros

_FATAL = 4


def runtime() -> ModuleType:
    """ONNX Runtime, which sends nothing and prints nothing. All of cutlayer takes it from here.

    It prints nothing, because its log quotes the names in a model file as they are. Its errors say the same.

    Raises:
        ConfigError: It is not installed, or would report this process to its maker.
    """
    if "onnxruntime" not in sys.modules and os.environ.get("ORT_DISABLE_TELEMETRY") != "1":
        raise ConfigError(
            "ORT_DISABLE_TELEMETRY was changed after cutlayer had set it to 1, and ONNX Runtime would report this "
            "process to its maker; leave it as it is."
        )
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError("ONNX Runtime is not installed; install cutlayer[onnx].") from None
    onnxruntime.set_default_logger_severity(_FATAL)
    return onnxruntime  # type: ignore[no-any-return]


def dtype_of(kind: str) -> str:
    """The name in numpy of what ONNX Runtime calls ``tensor(float)``; the name without ``tensor`` if numpy has none."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)


def open_half(
    path: Path,
    threads: int | None,
    takes: Mapping[str, TensorSpec],
    gives: Mapping[str, TensorSpec],
    zero: Collection[str] = (),
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Open an ONNX file with inputs and outputs of these names, as a function of a batch of any size.

    Several inputs are one batch, joined by `cutlayer.tensors.join`, and so are several outputs. A half that was cut
    from an ONNX file for one sample at a time computes the samples one after the other.

    Args:
        path: The file.
        threads: Threads that compute one batch; all cores when None. They sleep between requests rather than spin,
            because the two halves may share a machine, and a device has a battery.
        takes: One sample of each input; a batch that was not joined is the first.
        gives: One sample of each output.
        zero: Inputs that are zero where the batch lacks them, as state is at first.

    Returns:
        The function. It raises DataError for a batch that the model cannot compute.

    Raises:
        ConfigError: ONNX Runtime is not installed, or the path is no UTF-8.
        SplitError: The file is missing, damaged, or no half of a split model.
    """
    onnxruntime = runtime()
    recordable(str(path))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:  # the errors of ONNX Runtime have no common base but this
        raise SplitError(f"{path} cannot be opened as an ONNX model: {message(error)}.") from None
    names = {i.name for i in session.get_inputs()}, {o.name for o in session.get_outputs()}
    if names != (set(takes), set(gives)):
        raise SplitError(
            f"{path} takes {', '.join(sorted(names[0]))} and gives {', '.join(sorted(names[1]))}, not "
            f"{', '.join(takes)} and {', '.join(gives)}; it was not written by `cutlayer split`."
        )
    for verb, ends, specs in (("takes", session.get_inputs(), takes), ("gives", session.get_outputs(), gives)):
        for end in ends:
            _check_end(path, verb, end, specs[end.name])
    (only, *others), outputs = takes, list(gives)
    plain = not others and len(outputs) == 1

    def compute(inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        try:
            return session.run(outputs, inputs)  # type: ignore[no-any-return]
        except Exception as error:
            # Such as the number of a word that the model does not know, or too little memory.
            raise DataError(f"{path} cannot compute this batch: {message(error)}.") from error

    def run(batch: NDArray[Any]) -> NDArray[Any]:
        if plain and batch.dtype.names is None:
            return compute({only: batch})[0]
        given = parts(batch, only)
        inputs = {
            name: zeros(spec, len(batch)) if name in zero and name not in given else given[name]
            for name, spec in takes.items()
        }
        arrays = compute(inputs)
        return join(dict(zip(outputs, arrays, strict=True))) if len(outputs) > 1 else arrays[0]

    def run_each(batch: NDArray[Any]) -> NDArray[Any]:
        if len(batch) == 1:
            return run(batch)
        return np.concatenate([run(batch[i : i + 1]) for i in range(len(batch))])

    return run_each if session.get_inputs()[0].shape[:1] == [1] else run


def _check_end(path: Path, verb: str, end: Any, spec: TensorSpec) -> None:
    """Refuse a half that takes or gives another tensor than its split folder says, as far as the file says it."""
    # The shape is empty where the file does not say how many axes there are.
    lengths = zip(end.shape[1:], spec.shape, strict=False)
    same_axes = not end.shape or len(end.shape) == 1 + len(spec.shape)
    same = all(not isinstance(length, int) or stated in (length, -1) for length, stated in lengths)
    if dtype_of(end.type) != spec.dtype or not same_axes or not same:
        shape = "x".join("N" if not isinstance(length, int) else str(length) for length in end.shape)
        raise SplitError(
            f"{path} {verb} {end.name} as {dtype_of(end.type)} of shape {shape}, and split.json says {spec.dtype} of "
            f"shape Nx{spec}; copy the whole folder again."
        )
