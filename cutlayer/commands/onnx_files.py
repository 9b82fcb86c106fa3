"""Cuts of ONNX files from other programs. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path

import numpy as np

from cutlayer.commands.cut_table import table
from cutlayer.data.load import load
from cutlayer.data.modality import inputs_like
from cutlayer.data.splits import Splits
from cutlayer.errors import SplitError
from cutlayer.models.manifest import Ends
from cutlayer.onnx.given import Given
from cutlayer.onnx.graph import Survey, checked, survey, write
from cutlayer.onnx.types import LOSSLESS
from cutlayer.registry import DATASETS
from cutlayer.split_folder import open_split
from cutlayer.terminal import say, tell, tell_lines

_LISTED = 3
"""Most tensors that are named for each reason against a cut."""


def print_cuts(model: Path, given: Given) -> None:
    """Print every place where an ONNX file can be cut, and the reasons against a cut elsewhere."""
    graph = checked(survey(model, given))
    tell_lines(table(model.name, graph.file.input, graph.cuts))
    if uncounted := list(dict.fromkeys(name for cut in graph.cuts for name in cut.uncounted)):
        tell(f"not counted in the MACs of a head: {_listed(uncounted)}")
    if graph.file.guessed:
        shapes = ", ".join(f"{name}={spec}" for name, spec in graph.file.inputs.items())
        tell(f"the file leaves sizes open; these were tried and work: {shapes}; --input states others")
    for name, output in graph.file.likely_state.items():
        tell(f"{output} may be what {name} takes in the next request; --state {name}={output} keeps it on the device")
    other_types = _grouped({cut.name: cut.dtype for cut in graph.cuts if cut.dtype != "float32"})
    for dtype, names in other_types.items():
        codec = f"; the codec {LOSSLESS[dtype]} loses nothing of it" if dtype in LOSSLESS else ""
        tell(f"{dtype} at {names}: sent as float32{codec}")
    for beside, names in _grouped({cut.name: ", ".join(cut.beside) for cut in graph.cuts if cut.beside}).items():
        tell(f"cut at {names}, {beside} is sent to the server as it is, undefended")
    if alone := [cut.name for cut in graph.cuts if not cut.place.free and graph.opened is not None]:
        tell(f"one sample at a time at {_listed(alone)}: the first axis there is not the batch")
    reasons = {
        name: "others would have to be sent as well" if "as well" in reason else reason
        for name, reason in graph.refused.items()
    }
    for reason, names in _grouped(reasons).items():
        tell(f"no cut at {names}: {reason}")
    if not graph.cuts:
        tell("the model cannot be cut: at no place does a single tensor carry all that the rest needs")
    if graph.opened is None:
        tell("the model computes one sample at a time: its batch size is 1, or its samples depend on each other")


def _grouped(values: Mapping[str, str]) -> dict[str, str]:
    """The names that have each value, as a list of which the first few are named."""
    groups: dict[str, list[str]] = {}
    for name, value in values.items():
        groups.setdefault(value, []).append(name)
    return {value: _listed(names) for value, names in groups.items()}


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else "")


def split_file(
    model: Path, cut: str, out: Path, given: Given, *, data: str | None, data_root: Path | None, seed: int
) -> None:
    """Cut an ONNX file and write the split folder; with a data set, measure its accuracy too."""
    graph = survey(model, given)
    data = data and DATASETS.resolved(data, Path.cwd())
    splits = load(data, data_root, seed, shape=graph.file.input.shape) if data else None
    if splits is not None:
        for note in splits.notes:
            say(note)
        _check_data(graph, splits)
    manifest = write(graph, cut, out, data=data)
    text = f"{out}: {model.name} cut at {manifest.cut}, smashed {manifest.smashed}"
    if splits:
        correct, n = open_split(out).answers(splits.test.inputs) == splits.test.labels, len(splits.test)
        text += f", test accuracy {int(correct.sum()) / n:.1%} (n = {n:,})"
    tell(text)
    if manifest.ends is not None:
        for line in _described(manifest.ends):
            tell(line)


def _check_data(graph: Survey, splits: Splits) -> None:
    """Refuse a data set whose images or classes are not those of the model."""
    file, answer = graph.file, next(iter(graph.file.outputs.values()))
    numbers, classes = prod(answer.shape), len(splits.classes)
    if len(file.inputs) - len(file.state) > 1:
        raise SplitError(
            f"{file.path} takes {', '.join(file.inputs)}, not {splits.modality.one[1]} alone; leave out --data."
        )
    if not splits.classes:
        raise SplitError(
            f"The {splits.modality.one[1]} of {splits.name} have no classes, so that no accuracy can be measured: "
            f"leave out --data, or {splits.modality.labelled}."
        )
    says_class = np.dtype(answer.dtype).kind in "iu" and numbers == 1
    if splits.input.shape != file.input.shape or not (numbers == classes or says_class):
        raise SplitError(
            f"{splits.name} has {classes} classes of {inputs_like(splits.input)}, but {file.path} gives "
            f"{numbers} numbers for {file.input}; name the data set that it was trained on, or leave out --data."
        )


def _described(ends: Ends) -> list[str]:
    """What goes in and out of each half, in a few lines."""
    beside = [name for name in ends.tail if name not in ends.state]
    lines = [
        f"head: takes {', '.join(ends.head)}, gives smashed{''.join(f', {name}' for name in ends.kept)}",
        f"tail: takes smashed{''.join(f', {name}' for name in ends.tail)}, gives {', '.join(ends.answers)}",
    ]
    if beside:
        lines.append(f"sent as they are, undefended: {', '.join(beside)}")
    lines += [
        f"state: {name} is {output} of the request before, "
        + ("kept on the device" if output in ends.kept else "which comes with the answer and is sent back")
        for name, output in ends.state.items()
    ]
    return lines
