"""The two processes of a deployment, started as a user would start them."""

import contextlib
import io
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO

from cutlayer.errors import Unreachable
from cutlayer.wire.codecs.packed import own_codecs

READY_S = 60.0
STOP_S = 15.0

ERROR = "cutlayer: "
"""Begin of the line with which a command that has failed ends."""

_TIED = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != {parent}:
        sys.exit("The process that started this one has ended.")
from cutlayer.machine.memory import unlimit_memory
unlimit_memory()
from {module} import main
main()
"""
"""A module of cutlayer as a program, which the kernel of Linux ends when its parent is killed.

The child asks for that itself. With a function that `subprocess` calls after the fork, a Ctrl-C during the fork is
raised in one of Python's own hooks, and lost.
"""


def edge(*words: object) -> None:
    """Run a `cutlayer edge` to its end.

    Raises:
        Unreachable: It failed; the message holds its last line.
    """
    # An exception here, such as a stop, kills it at once.
    done = subprocess.run(tied("cutlayer.cli", "edge", *words), capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unreachable(f"The edge failed: {last_line(io.StringIO(done.stderr))}")


@contextlib.contextmanager
def cloud(*words: object, codecs: Iterable[str] = ()) -> Iterator[str]:
    """Run a `cutlayer cloud` and give the address where it listens; end it by SIGTERM, so that the tap is complete.

    Args:
        words: Its arguments.
        codecs: The codecs that devices will use, such as ``int8+zstd``; the server is told which of them to import.

    Raises:
        Unreachable: It ended, or did not get ready in time; the message holds its last line.
    """
    admitted = [word for codec in codecs for name in own_codecs(codec) for word in ("--codec", name)]
    # What the cloud prints goes to a file: a pipe that nobody reads would fill up and stop it.
    with tempfile.TemporaryFile("w+") as log:
        command = tied("cutlayer.cli", "cloud", *words, *admitted)
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert server.stdout is not None
        try:
            ready, _, _ = select.select([server.stdout], [], [], READY_S)
            first_words = server.stdout.readline().split() if ready else []
            if first_words[:1] != ["ready"]:
                server.kill()
                server.wait()
                raise Unreachable(f"The cloud did not get ready: {last_line(log)}")
            yield first_words[1]
            if server.poll() is not None:
                raise Unreachable(f"The cloud ended by itself: {last_line(log)}")
        except BaseException:
            stop(server)
            raise
        server.terminate()
        end(server, STOP_S)


def stop(process: subprocess.Popen[str]) -> None:
    """End a process whose results are not needed any more, within a second."""
    process.terminate()
    end(process, 1.0)


def end(process: subprocess.Popen[str], seconds: float) -> None:
    """Close the input of a process and wait for its end; kill it when the time is over."""
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def tied(module: str, *words: object) -> list[str]:
    """The command that runs the `main` of a module with these words, in a process that ends with this one."""
    return [sys.executable, "-c", _TIED.format(parent=os.getpid(), module=module), *map(str, words)]


def last_line(log: IO[str]) -> str:
    """The last line of what a process wrote to standard error, for a message."""
    log.seek(0)
    lines = [line for line in log.read().strip().splitlines() if line.strip()]
    return lines[-1].removeprefix(ERROR) if lines else "it printed nothing."
