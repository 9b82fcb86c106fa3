"""What a party keeps at the end of a round, so that a run whose processes were killed goes on with the same bits.

A folder holds one folder for each kept round, ``round-12``, with ``weights.safetensors``, ``optimizer.safetensors`` and
``state.json``. It appears under its name when it is whole and on the disk. The last two rounds are kept, because a
party cannot know whether all the others have kept the last one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from cutlayer.bounded import read_bytes, read_json, read_text, reason
from cutlayer.errors import ConfigError
from cutlayer.machine.files import PART, new_file, part_of, writing
from cutlayer.machine.lock import only_one
from cutlayer.records.files import delete
from cutlayer.wire.training import unshared

KEPT = 2
"""Rounds that are kept."""

MOST_BYTES = 16 << 30
"""Largest file of tensors that is read."""

WEIGHTS, OPTIMIZER, STATE, SECRET = "weights.safetensors", "optimizer.safetensors", "state.json", "secret"

_ROUND = re.compile(r"round-(\d{1,9})")

Kept = tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]
"""Weights and what the optimiser remembers, by name, and numbers for JSON."""


class Checkpoints:
    """The checkpoints of one party. One thread at a time.

    Args:
        folder: Their folder; it is made with the first one.
        plan: Id of the plan.
    """

    def __init__(self, folder: Path, plan: str) -> None:
        self.folder, self._plan = folder, plan

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes out of the folder during the block. Raises BusyError if one is in it."""
        with only_one(self.folder, inside=True):
            yield

    def save(
        self, round: int, weights: Mapping[str, Tensor], optimizer: Mapping[str, Tensor], numbers: Mapping[str, Any]
    ) -> None:
        """Keep the state at the end of a round, and drop all but this one and the one before.

        Raises:
            WriteError: It cannot be written; what was kept before is kept still.
        """
        contents = {WEIGHTS: save(unshared(weights)), OPTIMIZER: save(unshared(optimizer))}
        digests = {name: _digest(content) for name, content in contents.items()} | {STATE: _digest(_canonical(numbers))}
        state = {"plan": self._plan, "round": round, "sha256": digests, "numbers": dict(numbers)}
        contents[STATE] = (json.dumps(state, indent=1, allow_nan=False) + "\n").encode()
        place = self._place(round)
        with writing(place):
            part = part_of(place)
            part.mkdir(parents=True)
            for name, content in contents.items():
                with new_file(part / name) as file:
                    file.write(content)
            _sync(part)
            # Those of this round and later ones are from before the run went back.
            for other in self._rounds():
                if other >= round:
                    delete(self._place(other))
            part.rename(place)
            _sync(self.folder)
            for other in self._rounds()[:-KEPT]:
                delete(self._place(other))
            for left in self.folder.glob(f".round-*{PART}"):
                delete(left)

    def last(self) -> int | None:
        """Return the last round that was kept; None if none was."""
        return max(self._rounds(), default=None)

    def load(self, round: int) -> Kept:
        """Return what was kept at the end of a round.

        Raises:
            ConfigError: It was not kept, is damaged, or belongs to another plan.
        """
        place = self._place(round)
        kept = self._rounds()
        if round not in kept:
            has = f"the rounds {' and '.join(map(str, kept))}" if kept else "no round"
            raise ConfigError(
                f"The run goes on after round {round}, of which {self.folder} holds no checkpoint; it holds {has}. "
                "Name the folder in which this party has trained, or begin the run anew."
            )
        try:
            state = read_json(place / STATE)
            theirs = state["plan"]
            if theirs == self._plan:
                contents = {name: read_bytes(place / name, MOST_BYTES) for name in (WEIGHTS, OPTIMIZER)}
                for name, content in (contents | {STATE: _canonical(state["numbers"])}).items():
                    if _digest(content) != state["sha256"][name]:
                        raise ValueError(f"{name} is not the file that was written")
                return load(contents[WEIGHTS]), load(contents[OPTIMIZER]), state["numbers"]
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ConfigError(f"The checkpoint {place} cannot be read: {reason(error)}; begin the run anew.") from None
        raise ConfigError(
            f"The checkpoint {place} belongs to the plan {theirs!s:.40}, not to {self._plan}; name another folder."
        )

    def secret(self) -> str:
        """Return what shows a server that another process with this folder is the same client.

        Raises:
            ConfigError: The file cannot be read.
            WriteError: It cannot be written.
        """
        path = self.folder / SECRET
        if not path.exists():
            with new_file(path, 0o600) as file:
                file.write(secrets.token_hex(16).encode())
        try:
            text = read_text(path).strip()
            if not (len(text) == 32 and text.isalnum()):
                raise ValueError("it holds no secret")
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read: {reason(error)}; delete it and begin the run anew.") from None
        return text

    def _place(self, round: int) -> Path:
        return self.folder / f"round-{round}"

    def _rounds(self) -> list[int]:
        """Return the rounds that are there, in ascending order."""
        names = (_ROUND.fullmatch(path.name) for path in self.folder.glob("round-*"))
        return sorted(int(match[1]) for match in names if match)


def _canonical(numbers: Mapping[str, Any]) -> bytes:
    return json.dumps(numbers, sort_keys=True, allow_nan=False).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sync(folder: Path) -> None:
    """Write a folder's names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
