"""Cutting an ONNX file from anywhere into two that compute the same: `onnx_cuts` says where, `split_onnx` does it.

Needs the packages onnx and onnxruntime, not torch. What is cut is the file's own graph, node by node; nothing is
exported anew. Each cut that is offered has been made and run: tail(head(x)) is what the whole file gives.
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
from cutlayer.models.files import check_free, fresh
from cutlayer.models.manifest import HEAD_ONNX, TAIL_ONNX, Manifest, sha256
from cutlayer.onnx import costs as onnx_costs
from cutlayer.onnx.batch import BATCH, any_batch
from cutlayer.onnx.costs import Value
from cutlayer.onnx.errors import said
from cutlayer.onnx.file import OnnxFile, read, samples, the_package
from cutlayer.onnx.halves import halves
from cutlayer.onnx.normalize import normalizing
from cutlayer.onnx.parity import difference, whole
from cutlayer.onnx.seams import seams
from cutlayer.spec import TensorSpec

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True)
class OnnxCut(Cut):
    """A cut of an ONNX file; its name is the tensor's, its alias that of the node that gives it.

    Attributes:
        op: Operator of that node, for names that say nothing.
    """

    op: str


@dataclass(frozen=True)
class Survey:
    """What an ONNX file is and where it can be cut.

    Attributes:
        file: As read.
        cuts: In the order of the graph.
        refused: Every other tensor between input and output, and the reason why it is no cut.
        logits: Shape of one sample of the output.
        opened: The same for batches of any size; None where the halves compute samples one by one.
    """

    file: OnnxFile
    cuts: list[OnnxCut]
    refused: Mapping[str, str]
    logits: tuple[int, ...]
    opened: OnnxFile | None


def onnx_cuts(path: Path, input: TensorSpec | None = None) -> list[OnnxCut]:
    """Every cut of an ONNX file, each checked: the halves give what the whole gives.

    Args:
        path: Of the file.
        input: One sample, for a file that leaves its shape open.

    Raises:
        ConfigError: The package onnx or ONNX Runtime is not installed.
        SplitError: It is no ONNX file that could be cut anywhere.
    """
    return checked(survey(path, input)).cuts


def survey(
    path: Path, input: TensorSpec | None = None, *, mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,)
) -> Survey:
    """The cuts of an ONNX file and what they cost, none of them checked; see `onnx_cuts`.

    Args:
        path: Of the file.
        input: One sample, for a file that leaves its shape open.
        mean: Subtracted from images in [0, 1] before the model has them: one number, or one for each channel.
        std: Divides them then.
    """
    file = read(path, input)
    if any(mean) or any(number != 1 for number in std):
        file = normalizing(file, mean, std)
    found = seams(file.proto, file.image, file.logits)
    if not found.path:
        raise SplitError(f"{path} gives {file.logits}, which does not depend on {file.image}: nothing is to be split.")
    one, other = np.split(samples(file.input, 2), 2)
    try:
        values = onnx_costs.measure(file, found.path, one, other, free=False)
    except Exception as error:  # the errors of ONNX Runtime have no common base but this
        raise SplitError(
            f"ONNX Runtime cannot run {path} on {file.input}: {said(error)}; if it takes another shape, say which with "
            "--input."
        ) from None
    logits = values[file.logits]
    if logits.dtype != "float32" or logits.shape[:1] != (1,):
        shape = "x".join(map(str, logits.shape))
        raise SplitError(f"{path} gives {logits.dtype} of shape {shape or '()'}; only a batch of float32 can be sent.")
    opened, batched = any_batch(file, found.path) or (None, {})
    params, macs = onnx_costs.params(found.path, values, file.image), onnx_costs.macs(found.path, values)
    place = {name: i for i, node in enumerate(found.path) for name in node.output}
    cuts, refused = [], dict(found.refused)
    for name, node in found.found.items():
        value = values[name]
        if reason := _no_batch(value, batched.get(name)):
            refused[name] = reason
        else:
            smashed, i = TensorSpec(value.shape[1:]), place[name]
            aliases = (node.name,) if node.name not in ("", name) else ()
            cuts.append(OnnxCut(name, aliases, smashed, params[i], macs[i], node.op_type))
    return Survey(file, cuts, refused, logits.shape[1:], opened)


def _no_batch(value: Value, batched: Value | None) -> str | None:
    """Why a tensor is not what can be sent, given what it is for one sample and, perhaps, for `BATCH` of them."""
    if value.dtype != "float32" or len(value.shape) < 2:
        axes = f" of {len(value.shape)} axes" if value.shape else ""
        return f"it is {value.dtype}{axes}, and a batch of float32 is what is sent"
    if not value.steady:
        return "its shape depends on what is in the image"
    if not prod(value.shape):
        return "it is empty"
    if value.shape[0] != 1 or (batched and batched.shape != (BATCH, *value.shape[1:])):
        return "its first axis is not the batch"
    return None


def checked(survey: Survey) -> Survey:
    """The same without the cuts whose halves do not compute what the whole does."""
    # Node by node as written: a mistake of ours shows, fusions that differ do not, and it is several times faster.
    # Batches have been tried with the whole, so that one sample tells.
    file, expected = survey.file, whole(survey.file, 1, plain=True)
    wrong = {
        cut.name: difference(file, _halves(survey, cut), expected, together=True, plain=True) for cut in survey.cuts
    }
    refused = {name: reason for name, reason in wrong.items() if reason is not None}
    kept = [cut for cut in survey.cuts if cut.name not in refused]
    return replace(survey, cuts=kept, refused={**survey.refused, **refused})


def split_onnx(
    path: Path, cut: str, out: Path, input: TensorSpec | None = None, *, data: str | None = None
) -> Manifest:
    """Cut an ONNX file in two and write the split folder: `split.json`, `head.onnx` and `tail.onnx`.

    Args:
        path: Of the file.
        cut: Name or alias of a cut.
        out: The folder. A split folder of that name is replaced.
        input: One sample, for a file that leaves its shape open.
        data: Name of the data set that the model was trained on.

    Raises:
        ConfigError: The package onnx or ONNX Runtime is not installed.
        SplitError: There is no such cut, with the reason where a tensor has that name; the file cannot be cut; or `out`
            exists and holds something else.
    """
    check_free(Path(out))
    return write(survey(path, input), cut, out, data=data)


def write(survey: Survey, cut: str, out: Path, *, data: str | None = None) -> Manifest:
    """`split_onnx` for a file that has been surveyed, once for several cuts."""
    file = survey.file
    if cut in survey.refused:
        raise SplitError(f"{file.path} cannot be cut at {cut!r}: {survey.refused[cut]}; see `cutlayer cuts`.")
    found = find_cut(survey.cuts, cut)
    parts = _halves(survey, found)
    # As written, which is exact, and as optimized, which is what will run.
    for plain in (True, False):
        expected = whole(file, BATCH, plain=plain)
        wrong = difference(file, parts, expected, together=survey.opened is not None, plain=plain)
        if wrong is not None:
            raise SplitError(f"{file.path} cannot be cut at {cut!r}: {wrong}; cut elsewhere, see `cutlayer cuts`.")
    with fresh(Path(out)) as part:
        names = (HEAD_ONNX, TAIL_ONNX)
        for name, half in zip(names, parts, strict=True):
            (part / name).write_bytes(_described(half).SerializeToString())
        files = {name: sha256(part / name) for name in names}
        manifest = Manifest(
            file.path.name, found.name, prod(survey.logits), file.input, found.smashed, {"name": "none"}, data, files
        )
        manifest.save(part)
    return manifest


def _halves(survey: Survey, cut: OnnxCut) -> tuple[ModelProto, ModelProto]:
    free = survey.opened is not None
    return halves(survey.opened or survey.file, cut.name, cut.shape, survey.logits, free=free)


def _described(half: ModelProto) -> ModelProto:
    """With the shape of every tensor where it can be inferred."""
    return the_package().shape_inference.infer_shapes(half)
