"""ONNX files with bytes changed, cut out, repeated or taken from elsewhere: each is cut or refused in one sentence."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from cutlayer.errors import SplitError
from cutlayer.machine.confined import Limits, confined
from cutlayer.onnx.graph import checked, survey
from tests.onnx.hostile_models import nested_branches
from tests.onnx.onnx_models import chain

LIMITS = Limits(seconds=60.0, gigabytes=4.0)
"""For all files of one child together."""

AT_ONCE = 50


def fuzz(folder: Path, n: int, seed: int) -> Counter[str]:
    """Return how many of `n` spoiled files were cut, refused, and ended the process or took too long.

    Raises:
        AssertionError: Another error than SplitError, or more than one sentence.
    """
    corpus = [build(folder / f"{build.__name__}.onnx").read_bytes() for build in (chain, nested_branches)]
    path, outcomes = folder / "spoiled.onnx", Counter[str]()
    for begin in range(0, n, AT_ONCE):
        count = min(AT_ONCE, n - begin)
        files = list(_spoiled(corpus, count, [seed, begin]))
        # One child for many files is quick; when one of them ends it, each is tried by itself.
        try:
            outcomes += Counter(confined(lambda files=files: [_cut(path, data) for data in files], LIMITS, path))  # type: ignore[misc]
        except SplitError:
            for data in files:
                try:
                    outcomes += Counter(confined(lambda data=data: [_cut(path, data)], LIMITS, path))  # type: ignore[misc]
                except SplitError as error:
                    outcomes[str(error).partition(" (")[0].rpartition("onnx ")[2][:40]] += 1
    return outcomes


def _cut(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    try:
        checked(survey(path))
    except SplitError as error:
        sentence = str(error)
        assert len(sentence.splitlines()) == 1, sentence
        assert sentence.isprintable(), sentence
        return "refused"
    return "cut"


def _spoiled(corpus: list[bytes], n: int, seed: list[int]) -> list[bytes]:
    rng = np.random.default_rng(seed)
    files = []
    for _ in range(n):
        data = corpus[rng.integers(len(corpus))]
        for _ in range(int(rng.integers(1, 4))):
            at, length = int(rng.integers(len(data) + 1)), int(rng.integers(1, 64))
            match int(rng.integers(6)):
                case 0:
                    data = data[:at] if rng.random() < 0.2 else data[:at] + data[at + length :]
                case 1:
                    data = data[:at] + rng.bytes(length) + data[at:]
                case 2:
                    data = data[: at + length] + data[at:]
                case 3:
                    other = corpus[rng.integers(len(corpus))]
                    begin = int(rng.integers(len(other)))
                    data = data[:at] + other[begin : begin + length] + data[at + length :]
                case 4:
                    # The largest number of ten bytes, as a length of an axis or of a message.
                    data = data[:at] + b"\xff" * 9 + b"\x01" + data[at + 1 :]
                case _:
                    data = data[:at] + bytes([int(rng.integers(256))]) + data[at + 1 :]
        files.append(data)
    return files
