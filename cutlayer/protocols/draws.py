"""Random draws that follow from a counter, and never from a stream that runs on.

What is drawn depends on the seed, on what the draw is for, and on the client, the round and the step, and on nothing
that happened before. Therefore a run over a network draws what a run in one process draws, and a run that goes on from
a checkpoint needs no state of a generator.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from threading import RLock

import numpy as np
import torch

_MOST = 1 << 32
"""A greater part of a counter would take two words of the seed sequence, and could equal another counter."""

_torch_draws = RLock()


class Role(IntEnum):
    """What a draw is for. The numbers never change, for the results of a seed follow from them."""

    MODEL = 0
    PARTITION = 1
    SAMPLING = 2
    TURNS = 3
    ORDER = 4
    PROTECT = 5
    DROPOUT = 6
    AUGMENT = 7
    LABELS = 8
    NOISE = 9
    FEATURES = 10
    DETECT = 11
    UPDATE = 12


def generator(seed: int, role: Role, client: int = 0, round: int = 0, step: int = 0) -> np.random.Generator:
    """A generator whose draws follow from these numbers alone; client 0 is the server.

    Raises:
        ValueError: A number is negative, or 2**32 or more.
    """
    counter = [seed, int(role), client, round, step]
    if not all(0 <= part < _MOST for part in counter):
        raise ValueError(f"Each number of a counter is from 0 to 2**32 - 1; {counter} was given.")
    return np.random.default_rng(np.random.SeedSequence(counter))


@contextmanager
def drawing(seed: int, role: Role, client: int = 0, round: int = 0, step: int = 0) -> Iterator[None]:
    """A context in which torch's own draws, such as dropout, follow from these numbers alone.

    The generators of torch belong to the whole process. One thread at a time is in such a context, and the generators
    are restored at its end.
    """
    number = int(generator(seed, role, client, round, step).integers(1 << 63))
    with _torch_draws:
        if torch.cuda.is_initialized():
            with torch.random.fork_rng(range(torch.cuda.device_count()), device_type="cuda"):
                torch.manual_seed(number)
                yield
            return
        # torch.manual_seed would keep a stack trace of each call for a device that may come: 2 ms, and memory.
        state = torch.default_generator.get_state()
        try:
            torch.default_generator.manual_seed(number)
            yield
        finally:
            torch.default_generator.set_state(state)
