"""Several named tensors as one batch: a structured array with a field for each.

Such a batch is cut into samples, stored and taken in turn like a batch of images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.spec import TensorSpec


def join(tensors: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """One batch of tensors ``(N, *shape)`` of any types, with a field for each name."""
    n = len(next(iter(tensors.values())))
    batch = np.empty(n, [(name, tensor.dtype, tensor.shape[1:]) for name, tensor in tensors.items()])
    for name, tensor in tensors.items():
        batch[name] = tensor
    return batch


def parts(batch: NDArray[Any], only: str) -> dict[str, NDArray[Any]]:
    """Undo `join`; a batch of one tensor, which has no fields, gets the name `only`."""
    names = batch.dtype.names
    if names is None:
        return {only: batch}
    return {name: np.ascontiguousarray(batch[name]) for name in names}


def zeros(spec: TensorSpec, count: int) -> NDArray[Any]:
    """Samples of a tensor that are zero, as state is at first: ``(count, *spec.shape)``."""
    return np.zeros((count, *spec.shape), spec.dtype)


def random(spec: TensorSpec, count: int, rng: np.random.Generator) -> NDArray[Any]:
    """Random samples of a tensor, ``(count, *spec.shape)``: real numbers from 0 to 1, or whole ones of its range."""
    shape, dtype = (count, *spec.shape), np.dtype(spec.dtype)
    if dtype.kind == "f":
        return rng.random(shape, np.float32).astype(dtype, copy=False)
    if dtype.kind == "b":
        return rng.random(shape, np.float32) < 0.5
    low, high = (0 if bound is None else int(bound) for bound in (spec.low, spec.high))
    return rng.integers(low, max(low, high) + 1, shape).astype(dtype)


def random_batch(specs: Mapping[str, TensorSpec], count: int, seed: int | Sequence[int] = 0) -> NDArray[Any]:
    """Random samples of all inputs of a model, as one batch; of a single input the array alone.

    Args:
        specs: One sample of each input, by name, such as `Manifest.data_inputs`.
        count: Number of samples.
        seed: The same gives the same samples.
    """
    rng = np.random.default_rng(seed)
    tensors = {name: random(spec, count, rng) for name, spec in specs.items()}
    return join(tensors) if len(tensors) > 1 else next(iter(tensors.values()))


def chosen(answer: NDArray[Any]) -> NDArray[np.int64]:
    """The class that each answer means, ``(N,)``: the greatest number, or a whole number itself.

    Of several tensors, the first says it; -1 where it is empty.
    """
    if answer.dtype.names is not None:
        answer = answer[answer.dtype.names[0]]
    flat = answer.reshape(len(answer), -1)
    if flat.dtype.kind in "iu" and flat.shape[1] == 1:
        return flat[:, 0].astype(np.int64)
    if not flat.shape[1]:
        return np.full(len(flat), -1)
    return np.asarray(flat.argmax(1), np.int64)
