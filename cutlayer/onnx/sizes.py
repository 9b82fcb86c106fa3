"""Sizes that an ONNX file leaves open: stated by the user, or tried from the file's own hints and common sizes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cutlayer.errors import SplitError
from cutlayer.onnx.protos import the_package

if TYPE_CHECKING:
    from onnx import ModelProto

Shape = tuple[int, ...]

Axis = int | str | None
"""A length, the file's own name for one that is open, or None for one without a name."""

MOST_TRIALS = 48
"""Number of sizes that are tried; each is one inference."""

IMAGES = (224, 32, 28, 640, 320, 256, 416, 512, 299, 384, 64, 96, 112, 128, 160, 48, 24, 8)
SEQUENCES = (128, 16, 512, 576, 256, 64, 1024, 100, 80, 16000, 32, 8, 4, 1)
"""Common sizes, in the order in which they are tried."""

CHANNELS = (3, 1)

_HINTS = {"Reshape": 1, "Pad": 1, "Slice": 2, "Resize": 3, "Expand": 1}
"""The input of each operator that is a constant with sizes in it."""


@dataclass(frozen=True)
class Input:
    """An input as the file describes it.

    Attributes:
        name: Its name.
        dtype: Name of its type in numpy.
        axes: Its axes; None where the file does not say how many there are.
    """

    name: str
    dtype: str
    axes: tuple[Axis, ...] | None

    def __str__(self) -> str:
        if self.axes is None:
            return "an unknown number of axes"
        return "x".join("?" if axis is None else str(axis) for axis in self.axes) or "one number"


def stated(path: Path, input: Input, shape: Shape) -> Shape:
    """The whole shape of an input, of which the user states all or all but the batch.

    Raises:
        SplitError: The shape does not fit the axes.
    """
    if (whole := fits(input, shape)) is None:
        raise SplitError(
            f"{path} takes {input.name} as {input}, batch first, and not samples of {'x'.join(map(str, shape))}; leave "
            "out --input, or state a shape that fits."
        )
    return whole


def fits(input: Input, shape: Shape) -> Shape | None:
    """The whole shape of an input if this is all of it or all but the batch; None otherwise."""
    if input.axes is None:
        return (1, *shape)
    for lengths in (shape, (1, *shape)):
        if len(lengths) == len(input.axes) and all(
            axis == length for axis, length in zip(input.axes, lengths, strict=True) if isinstance(axis, int)
        ):
            return lengths
    return None


def candidates(
    model: ModelProto, inputs: Sequence[Input], known: Mapping[str, Sequence[Axis]], state: Iterable[str]
) -> tuple[bool, Iterator[dict[str, Shape]]]:
    """Whether file and user state all sizes, and whole shapes of all inputs, the likeliest first.

    Args:
        model: The model.
        inputs: All its inputs.
        known: Axes that the user has stated, by the name of the input.
        state: Names of inputs that hold recurrent state; what they leave open is the batch.
    """
    shapes = {input.name: list(known.get(input.name, input.axes or ())) for input in inputs}
    # The first axis is the batch, and so is every other one of its name.
    batch = {axes[0] for axes in shapes.values() if len(axes) > 1 and isinstance(axes[0], str) and axes[0] != "?"}
    for name, axes in shapes.items():
        for place, axis in enumerate(axes):
            if axis in batch or (not isinstance(axis, int) and (name in state or (place == 0 and len(axes) > 1))):
                axes[place] = 1
    open_axes = [(name, i) for name, axes in shapes.items() for i, axis in enumerate(axes) if not isinstance(axis, int)]
    if not open_axes:
        return True, iter([_lengths(shapes)])
    return False, _filled(shapes, open_axes, _sizes(model, any(len(shapes[name]) >= 4 for name, _ in open_axes)))


def _filled(
    shapes: Mapping[str, list[Any]], open_axes: Sequence[tuple[str, int]], sizes: Iterator[int]
) -> Iterator[dict[str, Shape]]:
    # Channels come first, unless the last axis has the length of channels.
    channels = {
        (name, i) for name, i in open_axes if i == 1 and len(shapes[name]) == 4 and shapes[name][3] not in (1, 3, 4)
    }
    for size in islice(sizes, MOST_TRIALS):
        for channel in CHANNELS if channels else CHANNELS[:1]:
            for name, i in open_axes:
                shapes[name][i] = channel if (name, i) in channels else size
            yield _lengths(shapes)


def _lengths(shapes: Mapping[str, Sequence[Axis]]) -> dict[str, Shape]:
    return {name: tuple(axis for axis in axes if isinstance(axis, int)) for name, axes in shapes.items()}


def _sizes(model: ModelProto, is_image: bool) -> Iterator[int]:
    """Sizes to try, each once: what the metadata says, what constants in the graph suggest, and common ones."""
    stated = [
        int(number) for entry in model.metadata_props if entry.key in ("imgsz", "input_size", "image_size")
        for number in re.findall(r"\d+", entry.value)
    ]  # fmt: skip
    common = IMAGES if is_image else SEQUENCES
    hints = [size for size, _ in _constants(model).most_common()]
    # A convolutional network takes any size, and a number in its graph may be anything.
    yield from dict.fromkeys([*stated, *(IMAGES[:1] if is_image else ()), *hints, *common])


def _constants(model: ModelProto) -> Counter[int]:
    """Numbers from 8 to 4096 among the constants that state sizes, and how often each occurs."""
    onnx = the_package()
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            tensors[node.output[0]] = node.attribute[0].t
    found: Counter[int] = Counter()
    for node in model.graph.node:
        place = _HINTS.get(node.op_type)
        if place is None or place >= len(node.input) or node.input[place] not in tensors:
            continue
        tensor = tensors[node.input[place]]
        if len(tensor.dims) == 1 and tensor.dims[0] <= 16 and tensor.data_type == onnx.TensorProto.INT64:
            found.update(int(number) for number in onnx.numpy_helper.to_array(tensor) if 8 <= number <= 4096)
    return found
