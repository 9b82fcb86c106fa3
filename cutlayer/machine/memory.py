"""The memory of this process: a limit for it, and how the lack of it is recognized."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

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


def limit_memory(gigabytes: float | None) -> None:
    """Let this process, and each process that it starts, claim this much memory at most, in 10^9 bytes.

    Where more is claimed, an allocation fails with an error that names what was attempted; without a limit the system
    may get slow, or end other programs. Memory that is claimed counts, whether it is used or not; the files of
    libraries do not, and neither does the memory of a graphics card.

    Raises:
        ConfigError: This system cannot limit the memory of a process in this way, or the process has more already.
    """
    if gigabytes is None:
        return
    if sys.platform != "linux":
        raise ConfigError("--max-memory needs Linux, whose kernel limits the memory of a process; leave it out.")
    import resource  # which Windows lacks

    most, (_, hard) = round(gigabytes * 1e9), resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
