"""What an engine is: it runs tasks, some of which wait for others, in processes of this machine or of many.

A task names its function and has plain arguments, so that any process which can import cutlayer can run it.
"""

import importlib
import os
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cutlayer.errors import CutlayerError
from cutlayer.foreign import shown
from cutlayer.machine.command import VARIABLE as COMMAND
from cutlayer.machine.limits import cores
from cutlayer.options import Threads, Whole
from cutlayer.tables import Options

LOST = "Its process has ended without a word; the system may have killed it, as it does where memory runs out."


@dataclass(frozen=True)
class Task:
    """A piece of work.

    Attributes:
        key: Its name, which no other task of the same run has.
        function: Where its function is, as ``module:attribute``.
        arguments: What the function is called with: texts, numbers, and lists of these.
        after: Keys of the tasks before it in the list that must have succeeded when it begins.
    """

    key: str
    function: str
    arguments: Options
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        key: That of the task.
        value: What its function returned.
        seconds: How long the function took; 0 where it did not run.
        error: What went wrong, as a sentence; empty if nothing did.
        traceback: Where it went wrong, as Python tells it; empty where no Python can tell.
    """

    key: str
    value: Any = None
    seconds: float = 0.0
    error: str = ""
    traceback: str = ""


Outcomes = Generator[Outcome, None, None]


def _unheard(task: Task, what: str) -> None:
    """Nobody wants to know."""


@dataclass(kw_only=True)
class Engine(ABC):
    """Runs tasks.

    Args:
        workers: Tasks at once; with 0 as many as there are cores for.
        cpus: Cores of each task, and the number of its threads.

    Attributes:
        note: Called with a task and what happens to it, such as "begins", before its outcome is known.
    """

    workers: Whole = 0
    cpus: Threads = 1
    note: Callable[[Task, str], None] = field(default_factory=lambda: _unheard, init=False, repr=False, compare=False)

    @abstractmethod
    def run(self, tasks: Sequence[Task], work: Path) -> Outcomes:
        """Run all tasks, and give the outcome of each as soon as it is known.

        A task begins when all those have succeeded that it names in `after`; where one failed, it is not run, and its
        outcome says so. One that fails, or whose process dies, does not stop the others. What still runs is ended when
        the generator is closed.

        Args:
            tasks: The tasks, each after those that it waits for.
            work: A folder for files of the engine's own.

        Raises:
            ConfigError, Unreachable: The engine cannot run here.
        """

    def where(self) -> str:
        """Where the tasks run, as a sentence, if that is not what the name of the engine says; empty otherwise."""
        return ""

    def places(self) -> int:
        """How many tasks run at once on this machine."""
        return self.workers or max(1, len(cores() or range(os.cpu_count() or 1)) // self.cpus)

    def variables(self) -> dict[str, str]:
        """Variables of the environment of tasks: their threads, which libraries read when they load, and the command.

        Its words are for the records of what the tasks make.
        """
        handed_down = {name: os.environ[name] for name in (COMMAND,) if name in os.environ}
        return {"OMP_NUM_THREADS": str(self.cpus), "OMP_WAIT_POLICY": "PASSIVE", **handed_down}


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Variables of the environment of processes that are started in the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def call(task: Task, *before: Outcome) -> Outcome:
    """Run a task in this process, unless one of those before it failed; what it raises is in the outcome."""
    for failed in (outcome for outcome in before if outcome.error):
        return unfit(task, failed)
    begin_s = time.perf_counter()
    try:
        module, _, attribute = task.function.partition(":")
        value = getattr(importlib.import_module(module), attribute)(**task.arguments)
        return Outcome(task.key, value, time.perf_counter() - begin_s)
    except Exception as error:
        told = "".join(traceback.format_exception(error))
        return Outcome(task.key, None, time.perf_counter() - begin_s, sentence(error), told)


def sentence(error: BaseException) -> str:
    """An error in one line: the sentence of one of ours, and the type as well of any other."""
    text = shown(str(error), 1000)
    return text if isinstance(error, CutlayerError) else f"{type(error).__name__}: {text}".removesuffix(": ")


def unfit(task: Task, failed: Outcome) -> Outcome:
    """The outcome of a task that is not run, because one before it failed."""
    return Outcome(task.key, error=f"{failed.key} failed, which it needs: {failed.error}", traceback=failed.traceback)


class Waiting:
    """Tasks that are not begun yet, in the order in which they were given."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks, self._ended = list(tasks), dict[str, Outcome]()

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def next(self) -> Task | None:
        """Take the first task that waits for no other one; None where there is none at the moment."""
        for task in self._tasks:
            if all(key in self._ended for key in task.after):
                self._tasks.remove(task)
                return task
        return None

    def ended(self, outcome: Outcome) -> Iterator[Outcome]:
        """Take note of an outcome; gives it, and those of all tasks that can no longer be run."""
        self._ended[outcome.key] = outcome
        yield outcome
        if outcome.error:
            for task in [task for task in self._tasks if outcome.key in task.after]:
                self._tasks.remove(task)
                yield from self.ended(unfit(task, outcome))
