"""Processes of one computation, which torchrun has started: each has a rank, and only the first one prints and writes.

``torchrun --nproc-per-node 4 -m cutlayer.cli attack SPLIT TAP`` starts four; `cutlayer.nets.together` says what they
share. Torch is imported inside the functions.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cutlayer.errors import ConfigError

SERVED = "attack"
"""The command that several processes can work on."""


def count() -> int:
    """The number of processes; 1 where torchrun has not started this one."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def rank() -> int:
    """The number of this process, from 0."""
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


@contextmanager
def joined(words: Sequence[str]) -> Iterator[None]:
    """Join the other processes for a command: by nccl where each has a GPU, else by gloo. Ranks above 0 print nothing.

    Args:
        words: The command and its options.

    Raises:
        ConfigError: It is another command than `attack`.
    """
    if count() == 1:
        yield
        return
    if words[:1] != [SERVED] or any(word.startswith("--watch") for word in words):
        raise ConfigError(
            f"torchrun can start `cutlayer {SERVED} SPLIT TAP` without --watch, and no other command: a run or a trial "
            "of a grid trains the victim and starts device and server, once. Run it without torchrun, and attack its "
            "tap, or that of the same split, with torchrun."
        )
    import torch
    from torch import distributed

    gpus = torch.cuda.device_count()
    own_gpu = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) <= gpus
    if gpus:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % gpus)
    distributed.init_process_group("nccl" if own_gpu else "gloo")
    try:
        with contextlib.ExitStack() as stack:
            if rank():
                nowhere = stack.enter_context(open(os.devnull, "w"))
                stack.enter_context(contextlib.redirect_stdout(nowhere))
                stack.enter_context(contextlib.redirect_stderr(nowhere))
            yield
    finally:
        distributed.destroy_process_group()


@contextmanager
def first_writes(folder: Path) -> Iterator[Path]:
    """The folder for the results: this one at rank 0; elsewhere one that is deleted afterwards."""
    if rank() == 0:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="cutlayer-") as scratch:
        yield Path(scratch)
