"""The memory of this process: a limit for it, and how the lack of it is recognized."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cutlayer.errors import ConfigError

_LACK = (
    "bad_alloc", "bad allocation", "failed to allocate", "out of memory", "cannot allocate", "can't allocate",
    "not enough memory", "memoryerror",
)  # fmt: skip
"""What the messages of libraries say when they get no memory."""


def lacks_memory(text: str) -> bool:
    """Whether the message of a library says that it got no memory."""
    return any(words in text.lower() for words in _LACK)


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an exception says that there is no memory left, on this machine or on its graphics card."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    # ONNX Runtime and torch raise errors of their own, which only their texts tell from others.
    return isinstance(error, RuntimeError) and lacks_memory(str(error))


@contextmanager
def enough_memory(subject: object, smaller: str) -> Iterator[None]:
    """Say what to make smaller where the work needs more memory than there is.

    Args:
        subject: What needs the memory, at the beginning of the sentence.
        smaller: What to try, after "try it with".

    Raises:
        ConfigError: In place of the error that says so.
    """
    try:
        yield
    except Exception as error:
        if not is_lack_of_memory(error):
            raise
        raise ConfigError(
            f"{subject} ran out of memory; try it with {smaller}, or with more memory (--max-memory)."
        ) from error


LEAST_BYTES = 250_000_000
"""What the work needs at least beyond what the libraries have claimed."""


def limit_memory(gigabytes: float | None) -> None:
    """Let this process claim this much memory at most, in 10^9 bytes; the processes that it starts have no limit.

    Where more is claimed, an allocation fails with an error that names what was attempted; without a limit the system
    may get slow, or end other programs. Memory that is claimed counts, whether it is used or not; the files of
    libraries do not, and neither does the memory of a graphics card.

    Raises:
        ConfigError: This system cannot limit the memory of a process in this way, or the libraries have claimed about
            as much already.
    """
    if gigabytes is None:
        return
    if sys.platform != "linux":
        raise ConfigError("--max-memory needs Linux, whose kernel limits the memory of a process; leave it out.")
    import resource  # which Windows lacks

    _claim_buffers()
    claimed, most = _claimed_bytes(), round(gigabytes * 1e9)
    if most < claimed + LEAST_BYTES:
        least = math.ceil((claimed + LEAST_BYTES) / 1e7) / 100
        raise ConfigError(
            f"--max-memory must be at least {least:g} here, for the libraries alone claim "
            f"{claimed / 1e9:.2g} GB; {gigabytes:g} was given."
        )
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def unlimit_memory() -> None:
    """Take back what `limit_memory` did; a process that is started inherits the limit."""
    if sys.platform == "linux":
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def _claim_buffers() -> None:
    """Let OpenBLAS, of which numpy and scipy have one each, claim its buffers: it tries without end if it gets none."""
    import numpy as np

    square = np.ones((256, 256))
    _ = square @ square
    with suppress(ImportError):  # a device does without scipy
        from scipy.linalg import blas

        blas.dgemm(1.0, square, square)


def _claimed_bytes() -> int:
    """The memory that counts for the limit, as the kernel of Linux states it."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData:"))
