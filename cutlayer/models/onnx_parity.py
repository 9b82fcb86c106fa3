"""Whether two halves compute what the whole computes: they are run, nothing is concluded."""

from __future__ import annotations

from math import inf, isnan
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cutlayer.models.onnx_file import OnnxFile, first_line, open_proto, run, samples

if TYPE_CHECKING:
    from onnx import ModelProto

TOLERANCE = 1e-4
"""How far tail(head(x)) may be from the whole, as a part of the largest output."""


def whole(file: OnnxFile, count: int, *, plain: bool) -> NDArray[np.float32]:
    """What a file gives for so many of `samples`, one after the other: ``(count, classes)``.

    Args:
        file: The model.
        count: Of samples.
        plain: See `cutlayer.models.onnx_file.open_proto`.
    """
    session, images = open_proto(file.proto, plain=plain), samples(file.input, count)
    each = [run(session, {file.image: images[i : i + 1]}, [file.logits])[0] for i in range(count)]
    return np.concatenate(each).reshape(count, -1)


def difference(
    file: OnnxFile, parts: tuple[ModelProto, ModelProto], expected: NDArray[np.float32], *, together: bool, plain: bool
) -> str | None:
    """What is wrong with head and tail of a file, if anything is.

    Args:
        file: What they were cut from.
        parts: Head and tail.
        expected: What `whole` gives.
        together: Run the samples as one batch rather than one after the other.
        plain: As `expected` was computed.
    """
    images = samples(file.input, len(expected))
    batches = [images] if together else [images[i : i + 1] for i in range(len(images))]
    try:
        head, tail = (open_proto(part, plain=plain) for part in parts)
        smashed = [run(head, {"image": batch}, ["smashed"])[0] for batch in batches]
        logits = np.concatenate([run(tail, {"smashed": batch}, ["logits"])[0] for batch in smashed])
    except Exception as error:  # the errors of ONNX Runtime have no common base but this
        return f"ONNX Runtime cannot run the halves: {first_line(error)}"
    apart = distance(logits, expected)
    if apart <= TOLERANCE:
        return None
    return f"the halves give something else than the whole, by {apart:.1%} of its largest output"


def distance(given: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest difference, as a part of the largest value expected; infinite where it is not a number."""
    if given.shape != expected.shape:
        return inf
    # Infinity less infinity is not a number, and taken care of.
    with np.errstate(invalid="ignore"):
        largest_difference = float(np.abs(given - expected).max(initial=0.0))
    largest = float(np.abs(expected).max(initial=0.0))
    if isnan(largest_difference) or (largest_difference and not largest):
        return inf
    return largest_difference / largest if largest else 0.0
