"""Export of a half as one ONNX file that a device without torch can run."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, fx, nn

from cutlayer.errors import SplitError
from cutlayer.machine.files import new_path
from cutlayer.models.graph import reason
from cutlayer.spec import TensorSpec

TOLERANCE = 1e-4
"""Largest difference between ONNX Runtime and torch: a fraction of the largest output, absolute if that is below 1."""


def export_onnx(
    module: nn.Module,
    sample_spec: TensorSpec,
    path: Path,
    input_name: str,
    output_name: str,
    sequence: bool = False,
) -> None:
    """Write the module as one self-contained ONNX file, after a check that ONNX Runtime computes the same as torch.

    The batch axis is free, and in a sequence the axis after it. The module is in eval mode afterwards. The file appears
    under its name only when it is complete and checked.

    Args:
        module: A module with one input and one output, on the CPU.
        sample_spec: One input; random samples for the check lie within its bounds.
        path: Path of the file; its folder exists.
        input_name: Name of the input in the ONNX graph.
        output_name: Name of the output in the ONNX graph.
        sequence: Whether the first axis of a sample is that of a sequence, whose greatest length it is.

    Raises:
        SplitError: The module cannot be exported, or the file computes something else.
    """
    _write(module, module, sample_spec, path, input_name, [output_name], sequence)


def export_named(model: fx.GraphModule, tensors: Mapping[str, fx.Node], sample_spec: TensorSpec, path: Path) -> None:
    """Export a whole model like `export_onnx`, from ``image`` to ``logits``, and name tensors inside.

    Args:
        model: The traced model, on the CPU.
        tensors: For each name, the node whose output gets it.
        sample_spec: One input.
        path: Path of the file; its folder exists.

    Raises:
        SplitError: The model cannot be exported, or the file computes something else.
    """
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    logits = graph.graph_copy(model.graph, copies)
    # The exporter names only outputs.
    graph.output((logits, *(copies[node] for node in tensors.values())))
    _write(model, fx.GraphModule(model, graph), sample_spec, path, "image", ["logits", *tensors])


def _write(
    module: nn.Module,
    exported: nn.Module,
    spec: TensorSpec,
    path: Path,
    input: str,
    outputs: list[str],
    sequence: bool = False,
) -> None:
    """Write `exported` to a file whose only output is the first of `outputs`, checked against `module`."""
    exported.eval()
    try:
        with new_path(path) as part:
            _export(exported, spec, part, path.name, input, outputs, sequence)
            _check(module.eval(), spec, part, sequence)
    finally:
        module.eval()


def _export(
    module: nn.Module, spec: TensorSpec, path: Path, name: str, input: str, outputs: list[str], sequence: bool
) -> None:
    axes = {0: torch.export.Dim("batch")}
    if sequence:
        axes[1] = torch.export.Dim("tokens", max=spec.shape[0])
    try:
        with warnings.catch_warnings():
            # The exporter of torch calls deprecated functions of torch.
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module, (_samples(spec, 2),), dynamo=True, verbose=False, input_names=[input], output_names=outputs,
                dynamic_shapes=(axes,),
            )  # fmt: skip
        assert program is not None
        del program.model.graph.outputs[1:]
        # Stack traces hold file names of this machine, and would make equal models differ.
        for node in program.model.graph.all_nodes():
            node.metadata_props.clear()
    except Exception as error:  # dozens of kinds, none of them documented
        raise SplitError(f"torch cannot export {name}: {reason(error.__cause__ or error)}") from error
    program.save(path)


def _check(module: nn.Module, spec: TensorSpec, path: Path, sequence: bool = False) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    length = spec.shape[0]
    for batch, shown in ((1, length), (3, length), *([(1, 1), (2, -(-length // 2))] if sequence else [])):
        samples = _samples(spec, batch)[:, :shown]
        with torch.no_grad():
            expected = module(samples)
        computed = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: samples.contiguous().numpy()})[0])
        allowed = TOLERANCE * max(1.0, float(expected.abs().max()))
        # The order matters: a difference that is not a number compares as false.
        if computed.shape != expected.shape or not float((computed - expected).abs().max()) <= allowed:
            raise SplitError(
                f"{path.stem} computes something else in ONNX Runtime than in torch for a batch of {batch}."
            )


def _samples(spec: TensorSpec, batch: int) -> Tensor:
    """Random samples: whole numbers of the range.

    Real ones are uniform between two bounds, half normal above one bound, and normal without bounds.
    """
    generator = torch.Generator().manual_seed(batch)
    shape = (batch, *spec.shape)
    if spec.dtype == "int64":
        return torch.randint(int(spec.low or 0), int(spec.high or 0) + 1, shape, generator=generator)
    if spec.low is not None and spec.high is not None:
        return spec.low + (spec.high - spec.low) * torch.rand(shape, generator=generator)
    noise = torch.randn(shape, generator=generator)
    return noise if spec.low is None else spec.low + noise.abs()
