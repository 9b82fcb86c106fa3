"""Cutting ONNX files that were made elsewhere. Nothing here loads torch."""

from __future__ import annotations

from math import prod
from pathlib import Path

from cutlayer.commands.cut_table import table
from cutlayer.data.load import load
from cutlayer.errors import ConfigError, SplitError
from cutlayer.models.files import check_free
from cutlayer.onnx.graph import checked, survey, write
from cutlayer.spec import TensorSpec
from cutlayer.split_folder import open_split

_LISTED = 3
"""Tensors named for each reason why they are no cuts."""


def print_cuts(model: Path, input: TensorSpec | None) -> None:
    """Print every place where an ONNX file can be cut, and the reasons why the others are none."""
    surveyed = checked(survey(model, input))
    print(table(model.name, surveyed.file.input, surveyed.cuts))
    reasons: dict[str, list[str]] = {}
    for name, reason in surveyed.refused.items():
        reasons.setdefault("others would have to be sent as well" if "as well" in reason else reason, []).append(name)
    for reason, names in reasons.items():
        more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
        print(f"no cut at {', '.join(names[:_LISTED])}{more}: {reason}")
    if not surveyed.cuts:
        print("nowhere to cut: no single tensor of it carries all that follows")
    if surveyed.opened is None:
        print("computes one sample at a time: the file is made for that, or its samples depend on each other")


def split_file(
    model: Path, cut: str, out: Path, input: TensorSpec | None, *, mean: str | None, std: str | None,
    data: str | None, data_root: Path | None, seed: int,
) -> None:  # fmt: skip
    """Cut an ONNX file and write the split folder; with a data set, measure its accuracy too."""
    check_free(out)
    surveyed = survey(model, input, mean=_numbers("--mean", mean or "0"), std=_numbers("--std", std or "1"))
    splits, n_outputs = None if data is None else load(data, data_root, seed), prod(surveyed.logits)
    if splits and (splits.input.shape, len(splits.classes)) != (surveyed.file.input.shape, n_outputs):
        raise SplitError(
            f"{data} has {len(splits.classes)} classes of {splits.input} images, and {model} gives {n_outputs} numbers "
            f"for {surveyed.file.input}; name the data set that it was trained on, or leave out --data."
        )
    manifest = write(surveyed, cut, out, data=data)
    text = f"{out}: {model.name} cut at {manifest.cut}, smashed {manifest.smashed}"
    if splits:
        correct, n = open_split(out).answers(splits.test.inputs) == splits.test.labels, len(splits.test)
        text += f", test accuracy {int(correct.sum()) / n:.1%} (n = {n:,})"
    print(text)


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"{option} reads like 0.485,0.456,0.406, not {text!r}.") from None
