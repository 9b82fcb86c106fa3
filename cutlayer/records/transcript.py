"""What one party saw while a split model was trained: smashed data, labels and gradients of each step, and weights.

A folder holds ``steps-ROUND-NUMBER.safetensors``, each with some steps of one round in the order in which they were
seen, ``model-ROUND.safetensors`` with the party's own weights at the end of a round, and at a server that averages
``update-ROUND-CLIENT.safetensors`` with what a client delivered for that.
Attacks on the training read it, for a party knows no more than what it saw.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from cutlayer.bounded import read_bytes, reason
from cutlayer.errors import DataError
from cutlayer.machine.files import new_file

STEPS_PER_FILE = 64
MOST_BYTES = 8 << 30
"""The limit of one file."""
_NAME = re.compile(r"(steps|model|update)-(\d{6})(?:-(\d{6}))?\.safetensors")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a party saw of one step; None for what it does not see.

    Attributes:
        client: Number of the client whose batch it was.
        round: Number of the round.
        step: Number of the client's batch within the round.
        smashed: ``(B, *smashed.shape)``, as the party decoded or sent it.
        labels: ``(B,)``, as the party holds them.
        gradient: ``(B, *smashed.shape)``: the gradient of the batch's mean loss at the cut, as decoded or sent.
    """

    client: int
    round: int
    step: int
    smashed: NDArray[Any] | None = None
    labels: NDArray[Any] | None = None
    gradient: NDArray[Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """What a client sent to be averaged.

    Attributes:
        client: Number of the client.
        round: Number of the round.
        samples: Number of its training samples.
        steps: Number of its steps in this round.
        weights: Its layers after the round, by the names of the model, as they arrived: with secure aggregation int32
            words, which mean nothing without those of all others.
        gradients: Where the gradients of all clients' layers are summed in each step: its own, step by step, each times
            the share of its batch among the samples of the step.
    """

    client: int
    round: int
    samples: int
    steps: int
    weights: Mapping[str, NDArray[Any]]
    gradients: tuple[Mapping[str, NDArray[Any]], ...] = ()


_COUNTS = ("samples", "steps")
_WHERE = ("client", "step")
_ARRAYS = tuple(field.name for field in fields(Seen) if field.name not in (*_WHERE, "round"))


class Recorder:
    """Writes a transcript while a training runs. Its methods may be called from several threads.

    Args:
        folder: The folder; it is made if it is missing.
        per_file: Number of steps that are kept in memory until a file of them is written.
    """

    def __init__(self, folder: Path, per_file: int = STEPS_PER_FILE) -> None:
        self._folder, self._per_file, self._lock = folder, per_file, threading.Lock()
        self._kept: dict[int, list[Seen]] = {}
        self._files: dict[int, int] = {}

    def see(self, seen: Seen) -> None:
        """Record one step.

        Raises:
            WriteError: A file cannot be written.
        """
        with self._lock:
            kept = self._kept.setdefault(seen.round, [])
            kept.append(seen)
            if len(kept) >= self._per_file:
                self._write(seen.round)

    def model(self, round: int, weights: Mapping[str, NDArray[Any]]) -> None:
        """Record the party's weights at the end of a round.

        Raises:
            WriteError: The file cannot be written.
        """
        _save(self._folder / f"model-{round:06}.safetensors", dict(weights))

    def deliver(self, delivered: Delivered) -> None:
        """Record what a client sent to be averaged.

        Raises:
            WriteError: The file cannot be written.
        """
        arrays = {name: np.array([getattr(delivered, name)], np.int64) for name in _COUNTS}
        arrays |= {f"weights/{name}": value for name, value in delivered.weights.items()}
        for step, gradient in enumerate(delivered.gradients):
            arrays |= {f"gradient-{step:06}/{name}": value for name, value in gradient.items()}
        _save(self._folder / f"update-{delivered.round:06}-{delivered.client:06}.safetensors", arrays)

    def end_round(self, round: int) -> None:
        """Write what is left of a round.

        Raises:
            WriteError: A file cannot be written.
        """
        with self._lock:
            if self._kept.get(round):
                self._write(round)

    def rewind(self, round: int) -> None:
        """Forget all that came after a round, because the training goes on from there once more."""
        with self._lock:
            self._kept = {number: kept for number, kept in self._kept.items() if number <= round}
            self._files = {number: count for number, count in self._files.items() if number <= round}
            for path, _, number, _ in _files(self._folder):
                if number > round:
                    path.unlink(missing_ok=True)

    def _write(self, round: int) -> None:
        kept, number = self._kept.pop(round), self._files.get(round, 0)
        where = {name: np.array([getattr(seen, name) for seen in kept], np.int64) for name in _WHERE}
        arrays = {
            f"{k}.{name}": value
            for k, seen in enumerate(kept)
            for name in _ARRAYS
            if (value := getattr(seen, name)) is not None
        }
        _save(self._folder / f"steps-{round:06}-{number:06}.safetensors", where | arrays)
        self._files[round] = number + 1


class Transcript:
    """A recorded transcript.

    Args:
        folder: The folder.

    Raises:
        DataError: The folder holds no transcript.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._found = folder, _files(folder)
        if not self._found:
            raise DataError(f"{folder} holds no transcript of a training; record one with `cutlayer train --record`.")

    @property
    def rounds(self) -> tuple[int, ...]:
        """The rounds at whose end the weights were recorded, in ascending order."""
        return tuple(sorted(number for _, kind, number, _ in self._found if kind == "model"))

    def steps(self) -> Iterator[Seen]:
        """All steps, by round and then in the order in which they were seen.

        Raises:
            DataError: A file is damaged.
        """
        for path, kind, number, _ in self._found:
            if kind == "steps":
                yield from _seen(path, number)

    def delivered(self, round: int) -> Iterator[Delivered]:
        """What each client sent to be averaged in a round, by the number of the client.

        Raises:
            DataError: A file is damaged.
        """
        for path, kind, number, client in self._found:
            if (kind, number) == ("update", round):
                yield _delivered(path, number, client)

    def model(self, round: int) -> dict[str, NDArray[Any]]:
        """The weights at the end of a round, by the names of the model.

        Raises:
            DataError: They were not recorded, or the file is damaged.
        """
        for path, kind, number, _ in self._found:
            if (kind, number) == ("model", round):
                return _load(path)
        known = ", ".join(map(str, self.rounds)) or "none"
        raise DataError(f"{self._folder} holds no weights of round {round}; those of these rounds are there: {known}.")


def _files(folder: Path) -> list[tuple[Path, str, int, int]]:
    """Path, kind, round and number of each file, by round and number."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    matches = [match for name in names if (match := _NAME.fullmatch(name))]
    files = [(folder / match[0], match[1], int(match[2]), int(match[3] or 0)) for match in matches]
    return sorted(files, key=lambda file: file[2:])


def _seen(path: Path, round: int) -> Iterator[Seen]:
    arrays = _load(path)
    try:
        where = {name: arrays.pop(name) for name in _WHERE}
        lengths = {values.shape for values in where.values()}
        if len(lengths) != 1 or any(values.ndim != 1 or values.dtype.kind != "i" for values in where.values()):
            raise ValueError("its list of steps is not whole")
        count = len(where["step"])
        of: list[dict[str, Any]] = [{} for _ in range(count)]
        for key, value in arrays.items():
            number, _, name = key.partition(".")
            if name not in _ARRAYS or not number.isdecimal() or int(number) >= count:
                raise ValueError(f"{key!r:.80} is no part of a step")
            of[int(number)][name] = value
    except (KeyError, ValueError) as error:
        raise DataError(f"{path} is damaged: {reason(error)}; record the training again.") from None
    for k, known in enumerate(of):
        yield Seen(client=int(where["client"][k]), round=round, step=int(where["step"][k]), **known)


def _delivered(path: Path, round: int, client: int) -> Delivered:
    arrays = _load(path)
    try:
        counts = {name: int(arrays.pop(name).item()) for name in _COUNTS}
        parts: dict[str, dict[str, Any]] = {"weights": {}}
        for key, value in arrays.items():
            part, slash, name = key.partition("/")
            if not slash or not (part == "weights" or re.fullmatch(r"gradient-\d{6}", part)):
                raise ValueError(f"{key!r:.80} is no part of an update")
            parts.setdefault(part, {})[name] = value
    except (KeyError, ValueError) as error:
        raise DataError(f"{path} is damaged: {reason(error)}; record the training again.") from None
    weights = parts.pop("weights")
    gradients = tuple(parts[part] for part in sorted(parts))
    return Delivered(client=client, round=round, weights=weights, gradients=gradients, **counts)


def _save(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    with new_file(path) as file:
        file.write(save({name: np.asarray(array, order="C") for name, array in arrays.items()}))


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        return load(read_bytes(path, MOST_BYTES))
    except (SafetensorError, ValueError, KeyError, OSError) as error:
        raise DataError(f"{path} cannot be read: {reason(error)}; record the training again.") from None
