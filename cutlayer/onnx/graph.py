"""Cutting any ONNX file into two that compute the same: `survey` and `checked` find the cuts, `write` makes one.

This needs the packages onnx and onnxruntime, not torch. It cuts the file's own graph, node by node; nothing is exported
again. `checked` has made and run each cut that it offers: tail(head(x)) equals the output of the whole file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cutlayer.errors import SplitError
from cutlayer.models.cut import Cut, find_cut
from cutlayer.models.files import new_folder
from cutlayer.models.manifest import HEAD_ONNX, TAIL_ONNX, Ends, Manifest, sha256
from cutlayer.onnx import costs as onnx_costs
from cutlayer.onnx.batch import BATCH, any_batch
from cutlayer.onnx.costs import Value
from cutlayer.onnx.ends import with_batches
from cutlayer.onnx.errors import message
from cutlayer.onnx.file import OnnxFile, read, samples
from cutlayer.onnx.fixed_shapes import with_fixed_shapes
from cutlayer.onnx.given import NOTHING, Given
from cutlayer.onnx.halves import Halves, Place, halves, is_plain, part
from cutlayer.onnx.names import GIVEN
from cutlayer.onnx.parity import NO_NUMBERS, Answers, difference, furthest, one_by_one, tolerance, whole
from cutlayer.onnx.protos import the_package
from cutlayer.onnx.seams import Seams, seams
from cutlayer.onnx.types import BOUNDS, EXACT, FLOATS
from cutlayer.spec import TensorSpec


@dataclass(frozen=True)
class OnnxCut(Cut):
    """A cut of an ONNX file, named after the tensor; its alias is the name of the node that computes the tensor.

    Attributes:
        op: Operator of that node.
        place: The tensor and how the halves handle it.
        beside: Inputs of the tail beside the smashed data, which are sent as they are.
    """

    op: str
    place: Place
    beside: tuple[str, ...] = ()

    @property
    def dtype(self) -> str:
        """Type of the tensor in the file; it is sent as float32."""
        return self.place.dtype


@dataclass(frozen=True)
class Survey:
    """What an ONNX file is and where it can be cut.

    Attributes:
        file: The file, with its batch first.
        cuts: The cuts, in the order of the graph.
        refused: For every other tensor between inputs and outputs, the reason why it is no cut.
        opened: The same model for batches of any size; None where the halves compute samples one by one.
    """

    file: OnnxFile
    cuts: list[OnnxCut]
    refused: Mapping[str, str]
    opened: OnnxFile | None


def survey(path: Path, given: Given = NOTHING) -> Survey:
    """Find the cuts of an ONNX file and what they cost; `checked` runs them.

    Args:
        path: Path of the file.
        given: What the user states about it.

    Raises:
        ConfigError: The package onnx or ONNX Runtime is not installed.
        SplitError: The file is no ONNX model that can be cut.
    """
    file = with_batches(read(path, given), given)
    if "smashed" in (*file.inputs, *file.outputs):
        raise SplitError(f"{path} has an input or output named smashed, which is the name of what is sent; rename it.")
    sample, another = one_by_one(samples(file, 2))
    try:
        file, found, opened, batched = _most_open(file, sample, another)
        if not found.nodes:
            raise SplitError(
                f"{path} gives {', '.join(file.outputs)}, which does not depend on {file.image}; there is nothing to "
                "split."
            )
        values = onnx_costs.measure(file, found.nodes, sample, another, free=False)
    except SplitError:
        raise
    except Exception as error:  # the errors of ONNX Runtime have no common base but this
        raise SplitError(
            f"ONNX Runtime cannot run {path} on {file.input}: {message(error)}; if it takes another shape, "
            "state it with --input."
        ) from None
    cuts, refused = [], dict(found.refused)
    given_as_outputs = {f"{name}{GIVEN}" for name in file.outputs}
    for node, cost in onnx_costs.costs(found.nodes, values, file.inputs):
        for name in node.output:
            if name not in found.found:
                continue
            if name in given_as_outputs:
                refused[name] = "it is the answer"
                continue
            if reason := _not_sent(values[name]):
                refused[name] = reason
                continue
            value, seam = values[name], found.found[name]
            first = value.shape[:1] == (1,) and len(value.shape) > 1
            together = name in batched and batched[name].shape == (BATCH, *value.shape[1:])
            is_batched = first and (together or opened is None)
            place = Place(name, value.dtype, value.shape, is_batched, opened is not None and is_batched, seam.kept)
            smashed = TensorSpec(place.smashed, "float32", *BOUNDS.get(value.dtype, (None, None)))
            aliases = (node.name,) if node.name not in ("", name) else ()
            beside = tuple(n for n in seam.tail if n not in file.state)
            cuts.append(
                OnnxCut(
                    name, aliases, smashed, cost.params, cost.macs, node.op_type, place, beside,
                    uncounted=cost.uncounted,
                )
            )  # fmt: skip
    return Survey(file, cuts, refused, opened)


def _most_open(
    file: OnnxFile, *batches: Mapping[str, NDArray[Any]]
) -> tuple[OnnxFile, Seams, OnnxFile | None, Mapping[str, Value]]:
    """The file as it is or with fixed shapes, its seams, and the same model for any batch with its tensors.

    Fixed shapes are taken where there are more seams, unless they cost the batches.
    """
    as_it_is = _found(file)
    opened = any_batch(file, as_it_is.nodes) if as_it_is.nodes else None
    fixed = with_fixed_shapes(file, *batches)
    if fixed is not file and len((others := _found(fixed)).found) > len(as_it_is.found):
        fixed_opened = any_batch(fixed, others.nodes)
        if fixed_opened is not None or opened is None or not as_it_is.found:
            return fixed, others, *(fixed_opened or (None, {}))
    return file, as_it_is, *(opened or (None, {}))


def _found(file: OnnxFile) -> Seams:
    return seams(file.proto, file.image, list(file.inputs), list(file.outputs), public=file.public, state=file.state)


def _not_sent(value: Value) -> str | None:
    """Why a tensor cannot be sent, given its value for one sample."""
    if value.dtype not in FLOATS and value.dtype not in BOUNDS:
        return f"it is {value.dtype}, which holds no numbers that can be sent"
    if value.largest > EXACT:
        return f"it is {value.dtype} with numbers up to {value.largest:,.0f}, which float32 does not hold exactly"
    if not value.steady:
        return "its shape depends on what is in the image"
    if not prod(value.shape):
        return "it is empty"
    return None


def checked(survey: Survey) -> Survey:
    """Move the cuts whose halves compute something else than the whole to `refused`."""
    expected = whole(survey.file, 1, plain=True)
    allowed = tolerance(survey.file.proto, plain=True)
    refused: dict[str, str] = {}
    for free in (True, False):
        refused |= _wrong(survey, [cut for cut in survey.cuts if cut.place.free == free], expected, allowed)
    cuts = [cut for cut in survey.cuts if cut.name not in refused]
    return replace(survey, cuts=cuts, refused={**survey.refused, **refused})


def _wrong(survey: Survey, cuts: Sequence[OnnxCut], expected: Answers, allowed: float) -> dict[str, str]:
    """Why some of these cuts are none. The file is taken apart at all of them at once, so each node runs once.

    Where the parts in a row do not compute what the whole does, each half of the cuts is tried by itself.
    """
    if not cuts:
        return {}
    kept = [set(cut.place.kept) for cut in cuts]
    nested = all(before <= after for before, after in pairwise(kept))
    reason: str | None = "the outputs that the heads compute differ"
    if nested:
        file = _file(survey, cuts[0])
        ends = [None, *(cut.place for cut in cuts), None]
        parts = [part(file, before, after) for before, after in pairwise(ends)]
        # Without optimization, node by node: this shows our own mistakes and no different fusions, and is several times
        # faster. One sample is enough, because `any_batch` has tried batches with the whole.
        reason = difference(survey.file, parts, expected, together=True, plain=True, allowed=allowed)
    if reason is None:
        return {}
    if len(cuts) == 1 or reason == NO_NUMBERS:
        return {cut.name: reason for cut in cuts}
    half = len(cuts) // 2
    return {
        name: why
        for some in (cuts[:half], cuts[half:])
        for name, why in _wrong(survey, some, expected, allowed).items()
    }


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
    # Without optimization, where the comparison is exact, and with it, as the halves will run: then they may differ
    # by twice as much as the optimization changes the whole.
    exact = whole(file, BATCH, plain=True)
    for plain in (True, False):
        expected = exact if plain else whole(file, BATCH, plain=False)
        allowed = max(tolerance(file.proto, plain=plain), 2 * furthest(expected, exact))
        wrong = difference(
            file, [parts.head, parts.tail], expected, together=chosen.place.free, plain=plain, allowed=allowed
        )
        if wrong is not None:
            raise SplitError(f"{file.path} cannot be cut at {cut!r}: {wrong}; cut elsewhere, see `cutlayer cuts`.")
    infer = the_package().shape_inference.infer_shapes
    described = {name: infer(half.model) for name, half in ((HEAD_ONNX, parts.head), (TAIL_ONNX, parts.tail))}
    with new_folder(out) as folder:
        for name, half in described.items():
            (folder / name).write_bytes(half.SerializeToString())
        files = {name: sha256(folder / name) for name in described}
        manifest = Manifest(
            file.path.name, chosen.name, _classes(file, parts), file.input, chosen.smashed, {"name": "none"}, data,
            files, ends=None if is_plain(file) else _ends(file, parts),
        )  # fmt: skip
        manifest.save(folder)
    return manifest


def _file(survey: Survey, cut: OnnxCut) -> OnnxFile:
    """The file that a cut takes apart: the one for batches of any size, or the one for single samples."""
    return (survey.opened if cut.place.free else None) or survey.file


def _halves(survey: Survey, cut: OnnxCut) -> Halves:
    return halves(_file(survey, cut), cut.place)


def _classes(file: OnnxFile, parts: Halves) -> int:
    """Numbers in the first answer; 0 where they depend on the data."""
    shape = file.outputs[next(iter(parts.tail.outputs.values()))].shape
    return 0 if -1 in shape else prod(shape)


def _ends(file: OnnxFile, parts: Halves) -> Ends:
    return Ends(
        {name: file.inputs[of] for name, of in parts.head.inputs.items()},
        {name: file.inputs[of] for name, of in parts.tail.inputs.items()},
        {name: file.outputs[of] for name, of in parts.head.outputs.items()},
        {name: file.outputs[of] for name, of in parts.tail.outputs.items()},
        {
            input: output
            for input, output in file.state.items()
            if input in parts.head.inputs or input in parts.tail.inputs
        },
    )
