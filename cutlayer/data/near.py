"""Images of different parts that are identical or nearly so: what an attacker or a model has seen is not new to it.

Two images are called nearly identical if their difference hashes (the signs of the brightness differences between
neighbors in 9x8 means, N. Krawetz, "Kind of Like That", 2013) differ in at most `BITS` of 64, and their pixels, each
channel freed of its mean and scaled to length 1, correlate with at least `CORRELATION`. The hash is quick and finds
copies that were saved again, scaled or brightened; the pixels tell those from images that merely share their layout.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.splits import Splits

BITS = 3
CORRELATION = 0.99
MOST = 2000
"""Images of the private and of the test part that are looked at."""
_CHUNK = 256
_FLAT = 1e-2
"""Length of the variation, and difference of the means, below which nothing can be seen."""
_WEIGHTS = np.uint64(1) << np.arange(64, dtype=np.uint64)


def near_copies(splits: Splits) -> list[str]:
    """A sentence for each pair of parts that share images: private or test with train or auxiliary."""
    if splits.modality.name != "image":
        return []  # equal rows and equal sentences are in one part already
    sentences, parts = [], splits.parts
    hashes = {name: difference_hash(part.inputs) for name, part in parts.items()}
    for name, why in (
        ("private", "the attacker, or the model, has seen them"),
        ("test", "the accuracy is that of images that were trained on"),
    ):
        inputs = parts[name].inputs[:MOST]
        for other in ("train", "auxiliary") if name == "private" else ("train",):
            copies = sum(_has_copy(inputs, hashes[name][:MOST], parts[other].inputs, hashes[other]))
            if copies:
                sentences.append(
                    f"{copies:,} of {len(inputs):,} {name} images are identical or nearly so to images of the {other} "
                    f"part: {why}; keep copies in one folder below their class, or remove them."
                )
    return sentences


def difference_hash(images: NDArray[np.float32]) -> NDArray[np.uint64]:
    """``(N, C, H, W)`` -> ``(N,)``, 64 bits each."""
    hashes = np.empty(len(images), np.uint64)
    for start in range(0, len(images), _CHUNK):
        means = images[start : start + _CHUNK].mean(axis=1)
        for axis, cells in ((1, 8), (2, 9)):
            edges = np.linspace(0, means.shape[axis], cells, endpoint=False).astype(int)
            means = np.add.reduceat(means, edges, axis) / np.expand_dims(
                np.maximum(np.diff([*edges, means.shape[axis]]), 1), tuple({0, 1, 2} - {axis})
            )
        bits = (np.diff(means, axis=2) > 0).reshape(len(means), 64)
        hashes[start : start + _CHUNK] = (bits * _WEIGHTS).sum(axis=1, dtype=np.uint64)
    return hashes


def _has_copy(
    inputs: NDArray[np.float32],
    hashes: NDArray[np.uint64],
    known: NDArray[np.float32],
    known_hashes: NDArray[np.uint64],
) -> Iterator[bool]:
    for image, own in zip(inputs, hashes, strict=True):
        candidates = np.flatnonzero(np.bitwise_count(own ^ known_hashes) <= BITS)
        chunks = (candidates[start : start + _CHUNK] for start in range(0, len(candidates), _CHUNK))
        yield any(_alike(image, known[chunk]).any() for chunk in chunks)


def _alike(image: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.bool_]:
    """``(C, H, W)`` and ``(N, C, H, W)`` -> ``(N,)``; images that do not vary are alike if their values are."""
    means = [x.mean(axis=(-2, -1), keepdims=True, dtype=np.float64) for x in (image[None], others)]
    a, b = image[None] - means[0], others - means[1]
    lengths = [np.sqrt((x * x).sum(axis=(1, 2, 3))) for x in (a, b)]
    correlation = (a * b).sum(axis=(1, 2, 3)) / np.maximum(lengths[0] * lengths[1], 1e-12)
    both_flat = (lengths[0] < _FLAT) & (lengths[1] < _FLAT)
    same_mean: NDArray[np.bool_] = np.abs(means[0] - means[1]).max(axis=(1, 2, 3)) < _FLAT
    return np.where(both_flat, same_mean, correlation >= CORRELATION)
