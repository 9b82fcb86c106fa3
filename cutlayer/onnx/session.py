"""Opening one half of a model in ONNX Runtime, the head on the device or the tail on the server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import ConfigError, SplitError


def open_half(
    path: Path, threads: int | None, input_name: str, output_name: str
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Open an ONNX file with one input and one output of these names, as a function of a batch of any size.

    A half that was cut from an ONNX file for one sample at a time computes the samples one after the other.

    Args:
        path: The file.
        threads: Threads that compute one batch; all cores when None. They sleep between requests rather than spin,
            because the two halves may share a machine, and a device has a battery.
        input_name: ``image`` of a head, ``smashed`` of a tail.
        output_name: ``smashed`` of a head, ``logits`` of a tail.

    Raises:
        ConfigError: ONNX Runtime is not installed.
        SplitError: The file is missing, damaged, or no half of a split model.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError("ONNX Runtime is not installed; install cutlayer[onnx], or use torch.") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the errors of ONNX Runtime have no common base but this
        raise SplitError(f"{path} cannot be opened as an ONNX model: {str(error).splitlines()[0]}") from None
    names = [i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()]
    if names != ([input_name], [output_name]):
        raise SplitError(
            f"{path} takes {', '.join(names[0])} and gives {', '.join(names[1])}, not {input_name} and {output_name}; "
            "it was not written by `cutlayer split`."
        )

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return session.run([output_name], {input_name: batch})[0]  # type: ignore[no-any-return]

    def run_each(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(batch) == 1:
            return run(batch)
        return np.concatenate([run(batch[i : i + 1]) for i in range(len(batch))])

    return run_each if session.get_inputs()[0].shape[0] == 1 else run
