"""Work on a file that somebody else made, in a child process with limits of time and memory.

A model file of 2 kB may stand for a computation of a thousand years, or make a library claim all memory, or end the
process that reads it. The child is a copy of this process (a fork), so that nothing is imported twice; its result comes
back as JSON. It works on Linux; elsewhere the work is done in this process, without limits.
"""

from __future__ import annotations

import ctypes
import gc
import json
import math
import os
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from cutlayer import errors
from cutlayer.errors import CutlayerError, SplitError
from cutlayer.machine.memory import lacks_memory
from cutlayer.terminal import say_lines

T = TypeVar("T")

DEFAULT_S = 600.0
"""Time limit, in seconds, if none is given."""

SHARE = 3 / 4
"""Share of the machine's memory that the work may take, if no limit is given."""

_CGROUP_LIMITS = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Limits:
    """What the work on a file may take.

    Attributes:
        seconds: Time, in seconds.
        gigabytes: Memory, in 10^9 bytes; three quarters of this machine's, or of its container's, if None.
    """

    seconds: float = DEFAULT_S
    gigabytes: float | None = None

    @property
    def n_bytes(self) -> int:
        """The limit of memory in bytes."""
        return round((_machine_bytes() * SHARE) if self.gigabytes is None else self.gigabytes * 1e9)


def limits(seconds: float | None, gigabytes: float | None) -> Limits:
    """The limits that the options ``--limit-s`` and ``--limit-gb`` state."""
    return Limits(DEFAULT_S if seconds is None else seconds, gigabytes)


def confined(work: Callable[[], T], limits: Limits, subject: object) -> T:
    """Do the work in a child process with limits, and return its result, which must be what JSON can hold.

    What the work prints appears as if this process printed it. An error of cutlayer that it raises is raised here.

    Args:
        work: A function without arguments.
        limits: What the child may take.
        subject: The file, for the error messages.

    Raises:
        SplitError: The work took more than the limits, or the process ended by a signal.
    """
    if sys.platform != "linux":
        return work()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    reading, writing = os.pipe()
    parent = os.getpid()
    with tempfile.TemporaryDirectory(prefix="cutlayer-") as scratch:
        with warnings.catch_warnings():
            # Python warns of threads at a fork; the only ones here belong to numpy, which stops them for it.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = _fork()
        if not child:
            os.close(reading)
            _work(work, limits, writing, parent, scratch)
        os.close(writing)
        try:
            answer = _read(reading, time.monotonic() + limits.seconds)
        except BaseException:
            _end(child)
            raise
        finally:
            os.close(reading)
        status = _end(child) if answer is None else os.waitpid(child, 0)[1]
    if answer is None:
        raise _too_slow(subject, limits)
    return _result(answer, status, limits, subject)  # type: ignore[no-any-return]


def _fork() -> int:
    """Fork, with a child that leaves alone what this process made before.

    What holds descriptors or threads must not be collected as garbage in the child: where it collected channels and
    servers of gRPC, the next gRPC server of this process answered nobody.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        child = os.fork()
        if not child:
            gc.freeze()
    finally:
        if collecting:
            gc.enable()
    return child


def _work(work: Callable[[], Any], limits: Limits, writing: int, parent: int, scratch: str) -> NoReturn:
    """Do the work in the child, send what came of it, and end."""
    answer: dict[str, Any] = {}
    try:
        tempfile.tempdir = scratch
        _confine(limits, parent)
        answer = {"value": work()}
    except CutlayerError as error:
        notes = getattr(error, "__notes__", [])
        answer = {"error": type(error).__name__, "text": str(error), "notes": notes}
    except ModuleNotFoundError as error:
        answer = {"missing": error.name, "text": str(error)}
    except MemoryError:
        answer = {"memory": True}
    except BrokenPipeError:
        answer = {"pipe": True}
    except KeyboardInterrupt:
        os._exit(130)
    except BaseException:
        say_lines(traceback.format_exc())
    with suppress(OSError):
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    with suppress(OSError), open(writing, "wb") as out:
        out.write(json.dumps(answer).encode())
    os._exit(0 if answer else 1)


def _confine(limits: Limits, parent: int) -> None:
    """Limit this process, and let it end with its parent however that ends."""
    import resource  # which Windows lacks

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    cpu_s = math.ceil(limits.seconds) * (os.cpu_count() or 1)
    # Memory that is claimed counts, whether it is used or not; the mapped files of libraries do not.
    for kind, most in (
        (resource.RLIMIT_DATA, limits.n_bytes), (resource.RLIMIT_CPU, cpu_s), (resource.RLIMIT_CORE, 0)
    ):  # fmt: skip
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, hard))


def _read(reading: int, until: float) -> bytes | None:
    """All that the child sends until it ends; None if it takes longer."""
    pieces: list[bytes] = []
    while True:
        left = until - time.monotonic()
        if left <= 0 or not select.select([reading], [], [], left)[0]:
            return None
        piece = os.read(reading, 1 << 20)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def _end(child: int) -> int:
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def _result(answer: bytes, status: int, limits: Limits, subject: object) -> Any:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGXCPU:
            raise _too_slow(subject, limits)
        raise SplitError(
            f"{subject} ended the process that worked on it ({signal.Signals(number).name}), with a limit of "
            f"{limits.n_bytes / 1e9:.3g} GB of memory; it is damaged, or it needs more, which --limit-gb allows."
        )
    try:
        told = json.loads(answer)
    except ValueError:
        told = {}
    if "value" in told:
        return told["value"]
    if "missing" in told:
        raise ModuleNotFoundError(told["text"], name=told["missing"])
    if "pipe" in told:
        raise BrokenPipeError
    if "memory" in told:
        raise _too_large(subject, limits)
    if "error" in told:
        kind = getattr(errors, told["error"], CutlayerError)
        try:
            error = kind(told["text"])
        except TypeError:  # an error of the network, which says more than a text
            error = CutlayerError(told["text"])
        if lacks_memory(told["text"]):
            error = _too_large(subject, limits)
        for note in told["notes"]:
            error.add_note(note)
        raise error
    code = os.waitstatus_to_exitcode(status)
    if code == 130:
        raise KeyboardInterrupt
    sys.exit(code or 1)


def _too_slow(subject: object, limits: Limits) -> SplitError:
    return SplitError(
        f"{subject} was not done within the time limit of {limits.seconds:g} s; if the file is what it should be, "
        "allow more with --limit-s."
    )


def _too_large(subject: object, limits: Limits) -> SplitError:
    return SplitError(
        f"{subject} needs more memory than the limit of {limits.n_bytes / 1e9:.3g} GB; if the file is what it should "
        "be, allow more with --limit-gb."
    )


def _machine_bytes() -> int:
    """Memory of this machine, or of the container that this process runs in."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for name in _CGROUP_LIMITS:
        with suppress(OSError, ValueError):
            total = min(total, int((Path("/") / name).read_text()))
    return total
