"""Heads that compute in int8: static quantization, calibrated on images.

This needs the packages onnx and onnxruntime, not torch. The head still takes and gives float32, because the
quantization is inside (QDQ): defenses, codecs and tails work as with any other head.
The gain and the cost depend on model, cut and machine; `cutlayer.profile.int8_effect` measures them.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from cutlayer.errors import SplitError, unwritable
from cutlayer.models.manifest import Manifest
from cutlayer.onnx.errors import message
from cutlayer.onnx.protos import the_package
from cutlayer.onnx.session import runtime
from cutlayer.tensors import parts, zeros

if TYPE_CHECKING:
    from onnx import ModelProto

LEAST_OPSET = 13
"""The first opset in which a weight can have a scale for each channel."""

QUANTIZED = "cutlayer.quantized"
"""Key in the metadata of a head that states how it was quantized."""


def quantize_head(head: Path, manifest: Manifest, images: NDArray[Any], path: Path) -> None:
    """Write a head that computes in int8, from one that does not.

    Weights have a scale for each output channel, activations one for each tensor, from the least and greatest value
    for the images.

    Args:
        head: The ONNX file of a head.
        manifest: Manifest of its split folder.
        images: Images for calibration, ``(N, *input.shape)``: of the kind that the device will see, and not those that
            measure the accuracy. A hundred are enough. Where a request is made of several tensors, a batch of them
            that `cutlayer.tensors.join` made; state is zero.
        path: The file to write.

    Raises:
        ConfigError: The package onnx or ONNX Runtime is not installed.
        SplitError: The head is quantized already or cannot be, or the images are not of its shape.
    """
    data = manifest.data_inputs
    given = {name: array.shape[1:] for name, array in parts(images, next(iter(data))).items()}
    if given != {name: spec.shape for name, spec in data.items()} or not len(images):
        shape = ", ".join("x".join(map(str, (len(images), *shape))) for shape in given.values())
        wanted = ", ".join(f"{name} of {spec}" for name, spec in data.items())
        raise SplitError(f"The images for calibration are {shape}, and the head takes a batch of {wanted}.")
    onnx = the_package()
    model = onnx.load(head)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        raise SplitError(f"{head} computes in int8 already; quantize the float32 head that it was made from.")
    if opset < LEAST_OPSET:
        raise SplitError(
            f"{head} is of opset {opset}, and int8 with a scale for each channel needs {LEAST_OPSET} or later; "
            "convert the model with onnx.version_converter, and cut that."
        )
    runtime()
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    takes = manifest.data_inputs if manifest.ends is None else manifest.ends.head

    def inputs(sample: NDArray[Any]) -> dict[str, NDArray[Any]]:
        tensors = parts(sample, next(iter(data)))
        return {name: tensors[name] if name in tensors else zeros(spec, 1) for name, spec in takes.items()}

    each = (inputs(images[i : i + 1]) for i in range(len(images)))
    reader = SimpleNamespace(get_next=lambda: next(each, None))
    try:
        with ExitStack() as stack:
            # The quantizer warns about the model; its effect is measured.
            stack.callback(logging.disable, logging.root.manager.disable)
            logging.disable(logging.WARNING)
            stack.enter_context(warnings.catch_warnings(action="ignore"))
            scratch = stack.enter_context(tempfile.TemporaryDirectory())
            folded = Path(scratch) / "folded.onnx"
            # Folds batch normalization into convolutions, because it cannot be quantized by itself.
            quant_pre_process(str(head), str(folded), skip_symbolic_shape=True)
            # Unsigned activations and signed weights, which x86 can multiply in int8: with both signed the same heads
            # took as long as in float32 there.
            quantize_static(
                str(folded), str(path), reader, quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            )  # fmt: skip
    except Exception as error:  # dozens of kinds, none of them documented
        if isinstance(error, OSError) and unwritable(error):
            raise
        raise SplitError(
            f"ONNX Runtime cannot quantize {head}: {message(error)}; cut elsewhere, or keep float32."
        ) from None
    quantized: ModelProto = onnx.load(path)
    if not any(node.op_type == "QuantizeLinear" for node in quantized.graph.node):
        raise SplitError(f"{head} has no operator that ONNX Runtime can compute in int8; cut further back.")
    entry = quantized.metadata_props.add()
    entry.key, entry.value = QUANTIZED, f"static int8, calibrated on {len(images)} images"
    path.write_bytes(quantized.SerializeToString())
