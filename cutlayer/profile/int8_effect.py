"""The time that a head in int8 gains and the accuracy that it costs, measured on this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.splits import NO_CLASS
from cutlayer.models.manifest import HEAD_ONNX
from cutlayer.split_folder import Half, SplitFolder


@dataclass(frozen=True)
class Effect:
    """The effect of quantization, measured on this machine with two split folders.

    Attributes:
        float32_ns: Times of the float32 head for single images, ``(rounds,)``.
        int8_ns: Times of the int8 head for the same images, taken in turns with the other.
        float32_correct: Number of right answers with the float32 head.
        int8_correct: Number of right answers with the int8 head.
        n_labelled: Number of images whose class is known, among which answers are right or wrong.
        agreed: Number of images with the same answer from both.
    """

    float32_ns: NDArray[np.int64]
    int8_ns: NDArray[np.int64]
    float32_correct: int
    int8_correct: int
    agreed: int
    n: int
    n_labelled: int
    float32_bytes: int
    int8_bytes: int

    @property
    def gain(self) -> float:
        """How many times faster the int8 head is, as the median over the rounds; below 1 where it is slower."""
        return float(np.median(self.float32_ns / self.int8_ns))

    def __str__(self) -> str:
        """Accuracy, time and size, in three lines."""
        before, after = (float(np.median(times)) / 1e6 for times in (self.float32_ns, self.int8_ns))
        shares = (correct / max(self.n_labelled, 1) for correct in (self.float32_correct, self.int8_correct))
        accuracy = "accuracy {:.1%} in float32, {:.1%} in int8; ".format(*shares) if self.n_labelled else ""
        return (
            f"{accuracy}the same answer to {self.agreed:,} of {self.n:,} inputs\n"
            f"head p50 {before:.3f} ms in float32, {after:.3f} ms in int8: {self.gain:.2f} times as fast "
            f"(n = {len(self.int8_ns)} pairs, one input each)\n"
            f"{HEAD_ONNX} {self.float32_bytes:,} bytes in float32, {self.int8_bytes:,} in int8"
        )


def compare(
    float32: SplitFolder,
    int8: SplitFolder,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    rounds: int = 100,
    threads: int = 1,
) -> Effect:
    """Time the heads of two split folders and count the right answers with each.

    Args:
        float32: Split folder with the float32 head.
        int8: Split folder with the int8 head, and the same tail.
        images: ``(N, *input.shape)``, other images than those that calibrated the head.
        labels: ``(N,)`` classes of the images, `NO_CLASS` where they are not known.
        rounds: Number of timed pairs of single images.
        threads: Threads of each half.
    """
    folders = (float32, int8)
    exact, small = (folder.answers(images, threads) for folder in folders)
    exact_correct, small_correct = (int((answers == labels).sum()) for answers in (exact, small))
    exact_bytes, small_bytes = (folder.file(HEAD_ONNX).stat().st_size for folder in folders)
    heads = [folder.head(threads=threads) for folder in folders]
    for head in heads:
        head(images[:1])
    turns = [images[at : at + 1] for at in (i % len(images) for i in range(rounds))]
    times = np.array([[_timed(head, image) for head in heads] for image in turns])
    agreed, n_labelled = int((exact == small).sum()), int((labels != NO_CLASS).sum())
    float32_ns, int8_ns = times.T
    return Effect(
        float32_ns, int8_ns, exact_correct, small_correct, agreed, len(labels), n_labelled, exact_bytes, small_bytes
    )


def _timed(head: Half, image: NDArray[np.float32]) -> int:
    start = time.monotonic_ns()
    head(image)
    return time.monotonic_ns() - start
