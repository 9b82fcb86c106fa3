"""What a request may be made of: shape, type and range are checked before the head computes, and nothing is guessed.

An array of another kind would give wrong answers without an error: a head computes 0 to 255 as readily as 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import DataError
from cutlayer.models.manifest import Manifest
from cutlayer.sequences import PAD, lengths
from cutlayer.spec import TensorSpec
from cutlayer.tensors import join

SLACK = 1e-3
"""Share of the range by which a value may lie outside of it, since resizing and scaling round."""

_LEAST, _MOST = np.minimum.reduce, np.maximum.reduce


def contract(manifest: Manifest) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return a function that checks one batch for this split, and gives it in the types that the head takes.

    It takes an array ``(N, *shape)`` with at least one sample, in C order or not; several inputs are joined by
    `cutlayer.tensors.join`. Floating point of any size becomes that of the head, and whole numbers of a smaller type
    become those of the head; an array that has the type already is not copied. Numbers are finite, and lie in the range
    that `split.json` states, up to `SLACK`. The range of whole numbers is not checked, since it is a guess for many
    models.

    It raises DataError, which says what was given, what is taken, and what to do.
    """
    specs = manifest.data_inputs
    image, spec = next(iter(specs.items()))
    if manifest.sequence:
        return _tokens(spec)
    one = _checked_by(image, spec)
    if manifest.ends is None:
        return one
    each = {name: _checked_by(name, spec) for name, spec in specs.items()}

    def all_of(batch: NDArray[Any]) -> NDArray[Any]:
        names = getattr(getattr(batch, "dtype", None), "names", None)
        if names is None and len(each) == 1:
            return one(batch)
        given = {image: batch} if names is None else {name: batch[name] for name in names}
        if missing := [name for name in each if name not in given]:
            raise DataError(
                f"This split takes {', '.join(each)}, and {', '.join(missing)} was not given; join one array for each "
                "with cutlayer.tensors.join."
            )
        checked = {name: check(given[name]) for name, check in each.items()}
        # State that a program gives itself is left to the head.
        return batch if all(checked[name] is given[name] for name in checked) else join(given | checked)

    return all_of


def _tokens(spec: TensorSpec) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """A check of sequences of tokens, ``(N, t)``, none longer than the model's positions."""
    longest, most = spec.shape[0], int(spec.high or 0)

    def check(batch: NDArray[Any]) -> NDArray[Any]:
        wanted = f"it takes int64 of shape Nxt, at most {longest:,} ids of tokens from 0 to {most:,} in each sequence"
        if not isinstance(batch, np.ndarray) or batch.ndim != 2 or not batch.size or batch.dtype.kind not in "iu":
            given = _described(batch) if isinstance(batch, np.ndarray) else f"a {type(batch).__name__}"
            raise DataError(f"The head cannot take {given} as tokens; {wanted}: make ids of text with its tokenizer.")
        low, high = int(_LEAST(batch, axis=None)), int(_MOST(batch, axis=None))
        if low < 0 or high > most:
            raise DataError(
                f"The head cannot take the id {high if high > most else low:,}; {wanted}: the ids are those of another "
                "tokenizer."
            )
        if batch.shape[1] > longest and (batch[:, longest:] != PAD).any():
            raise DataError(
                f"The head cannot take a sequence of {int(lengths(batch).max()):,} tokens; {wanted}: divide the text."
            )
        said = batch != PAD
        if not said[:, 0].all() or (said[:, 1:] > said[:, :-1]).any():
            given = "a sequence without tokens" if not said.any(axis=1).all() else f"the id {PAD} before a token"
            raise DataError(
                f"The head cannot take {given}; {wanted}. The id {PAD} stands for no token, behind the end alone: "
                "leave out such sequences and ids."
            )
        return batch[:, :longest].astype(np.int64, copy=False)

    return check


def _checked_by(name: str, spec: TensorSpec) -> Callable[[NDArray[Any]], NDArray[Any]]:
    dtype, shape, n_axes = np.dtype(spec.dtype), spec.shape, 1 + len(spec.shape)
    real, fixed = dtype.kind == "f", -1 not in spec.shape
    low, high = (-inf if spec.low is None else spec.low), (inf if spec.high is None else spec.high)
    slack = SLACK * (high - low) if -inf < low < high < inf else 0.0
    least, most = max(low - slack, -_largest(dtype)), min(high + slack, _largest(dtype))
    # The bits of numbers that are not negative are in the order of the numbers, and all others, NaN too, come after
    # them: one pass in place of two, for most inputs.
    in_bits = dtype == np.float32 and low == 0
    most_bits = int(np.float32(most).view(np.uint32)) if in_bits else 0

    def check(batch: NDArray[Any]) -> NDArray[Any]:
        if not isinstance(batch, np.ndarray):
            raise _wrong(name, f"a {type(batch).__name__}", spec, "make it a numpy array")
        fits = batch.shape[1:] == shape if fixed else _fits(batch.shape[1:], shape)
        if not fits or batch.ndim != n_axes or not batch.size:
            hints = [_shape_hint(batch.shape, shape)]
            if real and batch.dtype.kind in "iu":
                hints.append(_type_hint(batch, spec))
            raise _wrong(name, _described(batch), spec, "; ".join(hints))
        if batch.dtype != dtype:
            if not (batch.dtype.kind == "f" if real else np.can_cast(batch.dtype, dtype)):
                raise _wrong(name, _described(batch), spec, _type_hint(batch, spec))
            with np.errstate(over="ignore"):
                batch = batch.astype(dtype)
        # A number that is none makes both comparisons false.
        if in_bits and _MOST(batch.view(np.uint32), axis=None) <= most_bits:
            return batch
        if real and not (_LEAST(batch, axis=None) >= least and _MOST(batch, axis=None) <= most):
            raise _out_of_range(name, batch, spec)
        return batch

    return check


def _largest(dtype: np.dtype[Any]) -> float:
    return float(np.finfo(dtype).max) if dtype.kind == "f" else inf


def _wrong(name: str, given: str, spec: TensorSpec, advice: str) -> DataError:
    return DataError(f"The head cannot take {given} as {name}; it takes {_wanted(spec)}: {advice}.")


def _wanted(spec: TensorSpec) -> str:
    if np.dtype(spec.dtype).kind != "f":
        return f"{spec.dtype} of shape Nx{spec}"
    bounds = "" if spec.low is None or spec.high is None else f" from {spec.low:g} to {spec.high:g}"
    return f"{spec.dtype} of shape Nx{spec}, finite numbers{bounds}"


def _described(batch: NDArray[Any]) -> str:
    return f"{batch.dtype} of shape {'x'.join(map(str, batch.shape)) or 'one number'}"


def _fits(given: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(given) == len(wanted) and all(
        size == -1 or size == here for here, size in zip(given, wanted, strict=True)
    )


def _shape_hint(given: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """What to do to an array, without its type, so that it gets the shape that is wanted, batch axis aside."""
    if _fits(given, wanted):
        return "add the axis of the batch with x[None]"
    if 0 in given:
        return "give at least one sample"
    if len(wanted) != 3:
        return "give one sample in each place of the first axis"
    channels, size = wanted[0], wanted[1:]
    scaled = f"scale and crop it to {size[0]} rows and {size[1]} columns, as cutlayer.edge.camera.fitted does"
    many = len(given) == 4
    image = given[1:] if many else given
    if len(image) == 2:
        color = "" if channels == 1 else f", and give each pixel {channels} channels"
        return f"a gray image is x[None, None]{color}" + ("" if image == size else f"; {scaled}")
    if len(image) != 3:
        return "give one image in each place of the first axis"
    steps = []
    # Channels come last where only that place can hold them.
    if image[0] not in (1, 3, 4) and image[2] in (1, 3, 4):
        steps.append("put the channels first with x.transpose(" + ("0, 3, 1, 2)" if many else "2, 0, 1)[None]"))
        image = (image[2], *image[:2])
    elif not many:
        steps.append("add the axis of the batch with x[None]")
    if image[0] != channels:
        steps.append(_CHANNELS.get((image[0], channels), f"make its {image[0]} channels {channels}"))
    if image[1:] != size:
        steps.append(scaled)
    return "; ".join(steps)


_CHANNELS: Mapping[tuple[int, int], str] = {
    (4, 3): "leave out the fourth channel, which is the opacity, with x[:, :3]",
    (1, 3): "repeat the gray channel with np.repeat(x, 3, axis=1)",
    (3, 1): "make the colors gray with x.mean(axis=1, keepdims=True)",
    (4, 1): "make the colors gray with x[:, :3].mean(axis=1, keepdims=True)",
}


def _type_hint(batch: NDArray[Any], spec: TensorSpec) -> str:
    dtype = np.dtype(spec.dtype)
    if dtype.kind != "f":
        return f"convert it with x.astype(np.{dtype.name}) if that changes no number"
    if batch.dtype.kind in "iu" and (spec.low, spec.high) == (0.0, 1.0):
        most = 65535 if batch.dtype.itemsize > 1 and batch.size and batch.max() > 255 else 255
        return f"divide its numbers by {most}, as in x.astype(np.float32) / {most}"
    return f"convert it with x.astype(np.{dtype.name})"


def _out_of_range(name: str, batch: NDArray[Any], spec: TensorSpec) -> DataError:
    bad = np.count_nonzero(~np.isfinite(batch))
    if bad:
        return _wrong(name, f"values that are infinite or NaN ({bad:,} here)", spec, "replace them")
    low, high = float(batch.min()), float(batch.max())
    return _wrong(name, f"numbers from {low:g} to {high:g}", spec, _range_hint(low, high, spec))


def _range_hint(low: float, high: float, spec: TensorSpec) -> str:
    if (spec.low, spec.high) == (0.0, 1.0):
        if low >= 0 and 2 < high <= 65535:
            return f"divide by {255 if high <= 255 else 65535}"
        if low >= -1 - SLACK and high <= 1 + SLACK:
            return "if they are from -1 to 1, make them (x + 1) / 2; if resizing caused it, np.clip(x, 0, 1)"
    return "undo the normalization, which is part of the head, or clip them with np.clip"
