"""Cutting any ONNX file into two that compute the same: `survey` and `checked` find the cuts, `write` makes one.

This needs the packages onnx and onnxruntime, not torch. It cuts the file's own graph, node by node; nothing is exported
again. `checked` has made and run each cut that it offers: tail(head(x)) equals the output of the whole file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cutlayer.errors import SplitError
from cutlayer.models.cut import Cut, find_cut
from cutlayer.models.files import new_folder
from cutlayer.models.manifest import HEAD_ONNX, TAIL_ONNX, Manifest, sha256
from cutlayer.onnx import costs as onnx_costs
from cutlayer.onnx.batch import BATCH, any_batch
from cutlayer.onnx.costs import Value
from cutlayer.onnx.ends import with_float32_ends
from cutlayer.onnx.errors import message
from cutlayer.onnx.file import OnnxFile, read, samples
from cutlayer.onnx.halves import halves
from cutlayer.onnx.parity import difference, whole
from cutlayer.onnx.protos import the_package
from cutlayer.onnx.seams import seams
from cutlayer.onnx.types import BOUNDS, EXACT, FLOATS
from cutlayer.spec import TensorSpec

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True)
class OnnxCut(Cut):
    """A cut of an ONNX file, named after the tensor; its alias is the name of the node that computes the tensor.

    Attributes:
        op: Operator of that node.
        dtype: Type of the tensor in the file; it is sent as float32.
    """

    op: str
    dtype: str = "float32"


@dataclass(frozen=True)
class Survey:
    """What an ONNX file is and where it can be cut.

    Attributes:
        file: The file.
        cuts: The cuts, in the order of the graph.
        refused: For every other tensor between input and output, the reason why it is no cut.
        logits: Shape of one sample of the output.
        opened: The same model for batches of any size; None where the halves compute samples one by one.
    """

    file: OnnxFile
    cuts: list[OnnxCut]
    refused: Mapping[str, str]
    logits: tuple[int, ...]
    opened: OnnxFile | None


def survey(
    path: Path, input: TensorSpec | None = None, *, mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,)
) -> Survey:
    """Find the cuts of an ONNX file and what they cost; `checked` runs them.

    Args:
        path: Path of the file.
        input: One sample, for a file that leaves its shape open.
        mean: Mean to subtract from inputs in [0, 1] first: one number, or one for each channel.
        std: Standard deviation to divide them by then, likewise.

    Raises:
        ConfigError: The package onnx or ONNX Runtime is not installed.
        SplitError: The file is no ONNX model that can be cut.
    """
    written = read(path, input)
    file = with_float32_ends(written, mean, std)
    nodes, names, refused = seams(file.proto, file.image, file.logits)
    if written.logits in names:
        names.remove(written.logits)
        refused[written.logits] = "it is the answer"
    if not nodes:
        raise SplitError(
            f"{path} gives {file.logits}, which does not depend on {file.image}; there is nothing to split."
        )
    sample, another = np.split(samples(file.input, 2), 2)
    try:
        values = onnx_costs.measure(file, nodes, sample, another, free=False)
    except Exception as error:  # the errors of ONNX Runtime have no common base but this
        raise SplitError(
            f"ONNX Runtime cannot run {path} on {file.input}: {message(error)}; if it takes another shape, "
            "state it with --input."
        ) from None
    logits = values[file.logits]
    if written.gives not in FLOATS or logits.shape[:1] != (1,):
        shape = "x".join(map(str, logits.shape))
        raise SplitError(
            f"{path} gives {written.gives} of shape {shape or '()'}; only a batch of real numbers can be sent."
        )
    opened, batched = any_batch(file, nodes) or (None, {})
    cuts = []
    for node, params, macs in onnx_costs.params_and_macs(nodes, values, file.image):
        for name in names.intersection(node.output):
            if reason := _no_batch(values[name], batched.get(name)):
                refused[name] = reason
            else:
                aliases = (node.name,) if node.name not in ("", name) else ()
                dtype = values[name].dtype
                smashed = TensorSpec(values[name].shape[1:], "float32", *BOUNDS.get(dtype, (None, None)))
                cuts.append(OnnxCut(name, aliases, smashed, params, macs, node.op_type, dtype))
    return Survey(file, cuts, refused, logits.shape[1:], opened)


def _no_batch(value: Value, batched: Value | None) -> str | None:
    """Why a tensor cannot be sent, given its value for one sample and, perhaps, for `BATCH` samples."""
    if value.dtype not in FLOATS and value.dtype not in BOUNDS:
        return f"it is {value.dtype}, which holds no numbers that can be sent"
    if value.largest > EXACT:
        return f"it is {value.dtype} with numbers up to {value.largest:,.0f}, which float32 does not hold exactly"
    if len(value.shape) < 2:
        return "it has no batch of values"
    if not value.steady:
        return "its shape depends on what is in the image"
    if not prod(value.shape):
        return "it is empty"
    if value.shape[0] != 1 or (batched and batched.shape != (BATCH, *value.shape[1:])):
        return "its first axis is not the batch"
    return None


def checked(survey: Survey) -> Survey:
    """Move the cuts whose halves compute something else than the whole to `refused`."""
    # Without optimization, node by node: this shows our own mistakes and no different fusions, and is several times
    # faster. One sample is enough, because `any_batch` has tried batches with the whole.
    file, expected = survey.file, whole(survey.file, 1, plain=True)
    wrong = {
        cut.name: difference(file, _halves(survey, cut), expected, together=True, plain=True) for cut in survey.cuts
    }
    refused = {name: reason for name, reason in wrong.items() if reason is not None}
    cuts = [cut for cut in survey.cuts if cut.name not in refused]
    return replace(survey, cuts=cuts, refused={**survey.refused, **refused})


def write(survey: Survey, cut: str, out: Path, *, data: str | None = None) -> Manifest:
    """Cut a file in two and write the split folder: `split.json`, `head.onnx` and `tail.onnx`.

    Args:
        survey: Survey of the file, which serves several cuts.
        cut: Name or alias of a cut.
        out: The folder. A split folder of that name is replaced.
        data: Name of the data set that the model was trained on.

    Raises:
        SplitError: There is no such cut, with the reason where a tensor has that name; the halves do not compute what
            the whole computes; or `out` exists and holds something else.
    """
    file = survey.file
    if cut in survey.refused:
        raise SplitError(f"{file.path} cannot be cut at {cut!r}: {survey.refused[cut]}; see `cutlayer cuts`.")
    chosen = find_cut(survey.cuts, cut)
    parts = _halves(survey, chosen)
    # Without optimization, where the comparison is exact, and with it, as the halves will run.
    for plain in (True, False):
        expected = whole(file, BATCH, plain=plain)
        wrong = difference(file, parts, expected, together=survey.opened is not None, plain=plain)
        if wrong is not None:
            raise SplitError(f"{file.path} cannot be cut at {cut!r}: {wrong}; cut elsewhere, see `cutlayer cuts`.")
    with new_folder(Path(out)) as part:
        names = (HEAD_ONNX, TAIL_ONNX)
        for name, half in zip(names, parts, strict=True):
            described = the_package().shape_inference.infer_shapes(half)
            (part / name).write_bytes(described.SerializeToString())
        files = {name: sha256(part / name) for name in names}
        manifest = Manifest(
            file.path.name, chosen.name, prod(survey.logits), file.input, chosen.smashed, {"name": "none"}, data, files
        )
        manifest.save(part)
    return manifest


def _halves(survey: Survey, cut: OnnxCut) -> tuple[ModelProto, ModelProto]:
    free = survey.opened is not None
    return halves(survey.opened or survey.file, cut.name, cut.dtype, cut.shape, survey.logits, free=free)
