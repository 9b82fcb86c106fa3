"""Cutting an ONNX file from anywhere into two that compute the same: `onnx_cuts` says where, `split_onnx` does it.

Needs the packages onnx and onnxruntime, not torch. What is cut is the file's own graph, node by node; nothing is
exported anew. Each cut that is offered has been made and run: tail(head(x)) is what the whole file gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isnan, prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import SplitError
from cutlayer.models import onnx_costs
from cutlayer.models.cut import Cut, find_cut
from cutlayer.models.fresh import HEAD_ONNX, TAIL_ONNX, check_free, fresh
from cutlayer.models.onnx_file import OnnxFile, first_line, open_proto, read, run, samples, the_package
from cutlayer.models.onnx_seams import halves, has_control_flow, seams
from cutlayer.spec import Manifest, TensorSpec, sha256

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

TOLERANCE = 1e-4
"""How far tail(head(x)) may be from the whole, as a part of the largest output."""

_BATCH = 2

_NO_TENSOR = onnx_costs.Value((), "no tensor")


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
        free: Whether the halves take batches of any size. Where they do not, samples are computed one by one.
    """

    file: OnnxFile
    cuts: list[OnnxCut]
    refused: Mapping[str, str]
    logits: tuple[int, ...]
    free: bool


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


def survey(path: Path, input: TensorSpec | None = None) -> Survey:
    """The cuts of an ONNX file and what they cost, none of them checked; see `onnx_cuts`."""
    file = read(path, input)
    found = seams(file.proto.graph, file.image, file.logits)
    try:
        values = onnx_costs.measure(file, found.path, samples(file.input, 1), free=False)
    except Exception as error:  # the errors of ONNX Runtime have no common base but this
        raise SplitError(f"ONNX Runtime cannot run {path} on {file.input}: {first_line(error)}") from None
    logits = values.get(file.logits, _NO_TENSOR)
    if logits.dtype != "float32" or logits.shape[:1] != (1,):
        shape = "x".join(map(str, logits.shape))
        raise SplitError(f"{path} gives {logits.dtype} of shape {shape or '()'}; only a batch of float32 can be sent.")
    batched = _batched(file, found.path)
    params, macs = onnx_costs.params(found.path, values, file.image), onnx_costs.macs(found.path, values)
    place = {name: i for i, node in enumerate(found.path) for name in node.output}
    cuts, refused = [], dict(found.refused)
    for name, node in found.found.items():
        value = values.get(name, _NO_TENSOR)
        if value.dtype != "float32" or len(value.shape) < 2:
            refused[name] = f"it is {value.dtype} of {len(value.shape)} axes, and a batch of float32 is what is sent"
        elif value.shape[0] != 1 or (batched and batched[name].shape != (_BATCH, *value.shape[1:])):
            refused[name] = "its first axis is not the batch"
        else:
            smashed, i = TensorSpec(value.shape[1:]), place[name]
            aliases = (node.name,) if node.name not in ("", name) else ()
            cuts.append(OnnxCut(name, aliases, smashed, params[i], macs[i], node.op_type))
    return Survey(file, cuts, refused, logits.shape[1:], bool(batched))


def checked(survey: Survey) -> Survey:
    """The same without the cuts whose halves do not compute what the whole does."""
    # Node by node as written: a mistake of ours shows, fusions that differ do not, and it is several times faster.
    expected = _whole(survey.file, plain=True)
    wrong = {cut.name: _difference(survey, _halves(survey, cut), expected, plain=True) for cut in survey.cuts}
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
    difference = _difference(survey, parts, _whole(file, plain=False), plain=False)
    if difference is not None:
        raise SplitError(f"{file.path} cannot be cut at {cut!r}: {difference}; cut elsewhere, see `cutlayer cuts`.")
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


def _batched(file: OnnxFile, path: Sequence[NodeProto]) -> Mapping[str, onnx_costs.Value]:
    """The tensors for a whole batch; none where the model cannot take one, or gives something else for it."""
    # A branch that depends on the data would be taken for the whole batch.
    if has_control_flow(file.proto.graph):
        return {}
    images = samples(file.input, _BATCH)
    try:
        session = open_proto(onnx_costs.probe(file, [file.logits], free=True), plain=True)
        (given,) = run(session, {file.image: images}, [file.logits])
        if _distance(given.reshape(_BATCH, -1), _whole(file, plain=True)) <= TOLERANCE:
            return onnx_costs.measure(file, path, images, free=True)
    except Exception:  # whatever a model says that was made for one sample: it is taken at its word
        return {}
    return {}


def _whole(file: OnnxFile, *, plain: bool) -> NDArray[np.float32]:
    """What the file gives for `samples`, one after the other: ``(2, classes)``."""
    session, images = open_proto(file.proto, plain=plain), samples(file.input, _BATCH)
    each = [run(session, {file.image: images[i : i + 1]}, [file.logits])[0] for i in range(_BATCH)]
    return np.concatenate(each).reshape(_BATCH, -1)


def _halves(survey: Survey, cut: OnnxCut) -> tuple[ModelProto, ModelProto]:
    return halves(survey.file, cut.name, cut.shape, survey.logits, free=survey.free)


def _difference(
    survey: Survey, parts: tuple[ModelProto, ModelProto], expected: NDArray[np.float32], *, plain: bool
) -> str | None:
    """What is wrong with the halves of a cut, if anything is."""
    images = samples(survey.file.input, _BATCH)
    batches = [images] if survey.free else [images[i : i + 1] for i in range(_BATCH)]
    try:
        head, tail = (open_proto(part, plain=plain) for part in parts)
        smashed = [run(head, {"image": batch}, ["smashed"])[0] for batch in batches]
        logits = np.concatenate([run(tail, {"smashed": batch}, ["logits"])[0] for batch in smashed])
    except Exception as error:  # as in `survey`
        return f"ONNX Runtime cannot run the halves: {first_line(error)}"
    distance = _distance(logits, expected)
    if distance <= TOLERANCE:
        return None
    return f"the halves give something else than the whole, by {distance:.1%} of its largest output"


def _distance(given: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest difference, as a part of the largest value expected; infinite where it is not a number."""
    if given.shape != expected.shape:
        return inf
    distance = float(np.abs(given - expected).max(initial=0.0))
    largest = float(np.abs(expected).max(initial=0.0))
    return inf if isnan(distance) else distance / largest if distance else 0.0


def _described(half: ModelProto) -> ModelProto:
    """With the shape of every tensor where it can be inferred."""
    return the_package().shape_inference.infer_shapes(half)
