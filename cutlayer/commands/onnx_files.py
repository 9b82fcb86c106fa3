"""Cuts of ONNX files from other programs. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

from cutlayer.commands import say
from cutlayer.commands.cut_table import table
from cutlayer.data.load import load
from cutlayer.errors import SplitError
from cutlayer.onnx.graph import checked, survey, write
from cutlayer.onnx.types import LOSSLESS
from cutlayer.registry import DATASETS
from cutlayer.spec import TensorSpec
from cutlayer.split_folder import open_split

_LISTED = 3
"""Most tensors that are named for each reason against a cut."""


def print_cuts(model: Path, input: TensorSpec | None) -> None:
    """Print every place where an ONNX file can be cut, and the reasons against a cut elsewhere."""
    graph = checked(survey(model, input))
    print(table(model.name, graph.file.input, graph.cuts))
    other_types = _grouped({cut.name: cut.dtype for cut in graph.cuts if cut.dtype != "float32"})
    for dtype, names in other_types.items():
        codec = f"; the codec {LOSSLESS[dtype]} loses nothing of it" if dtype in LOSSLESS else ""
        print(f"{dtype} at {names}: sent as float32{codec}")
    reasons = {
        name: "others would have to be sent as well" if "as well" in reason else reason
        for name, reason in graph.refused.items()
    }
    for reason, names in _grouped(reasons).items():
        print(f"no cut at {names}: {reason}")
    if not graph.cuts:
        print("the model cannot be cut: at no place does a single tensor carry all that the rest needs")
    if graph.opened is None:
        print("the model computes one sample at a time: its batch size is 1, or its samples depend on each other")


def _grouped(values: Mapping[str, str]) -> dict[str, str]:
    """For each value, the names that have it, as a list of which the first few are named."""
    groups: dict[str, list[str]] = {}
    for name, value in values.items():
        groups.setdefault(value, []).append(name)
    return {
        value: ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else "")
        for value, names in groups.items()
    }


def split_file(
    model: Path, cut: str, out: Path, input: TensorSpec | None, mean: Sequence[float], std: Sequence[float], *,
    data: str | None, data_root: Path | None, seed: int,
) -> None:  # fmt: skip
    """Cut an ONNX file and write the split folder; with a data set, measure its accuracy too."""
    graph = survey(model, input, mean=list(mean) or [0.0], std=list(std) or [1.0])
    n_logits = prod(graph.logits)
    data = data and DATASETS.resolved(data, Path.cwd())
    splits = load(data, data_root, seed, shape=graph.file.input.shape) if data else None
    for note in splits.notes if splits else ():
        say(note)
    if splits and not splits.classes:
        raise SplitError(
            f"The images of {data} have no classes, so that no accuracy can be measured: leave out --data, or put the "
            "images of each class into a folder of its own."
        )
    if splits and (splits.input.shape, len(splits.classes)) != (graph.file.input.shape, n_logits):
        raise SplitError(
            f"{data} has {len(splits.classes)} classes of {splits.input} images, but {model} gives {n_logits} numbers "
            f"for {graph.file.input}; name the data set that it was trained on, or leave out --data."
        )
    manifest = write(graph, cut, out, data=data)
    text = f"{out}: {model.name} cut at {manifest.cut}, smashed {manifest.smashed}"
    if splits:
        correct, n = open_split(out).answers(splits.test.inputs) == splits.test.labels, len(splits.test)
        text += f", test accuracy {int(correct.sum()) / n:.1%} (n = {n:,})"
    print(text)
