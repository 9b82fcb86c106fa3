"""Tasks in processes of this machine.

Each place is a pool of one process, so that one that dies takes no other task with it, and another takes its place.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from cutlayer.experiment.engines.base import LOST, Engine, Outcome, Outcomes, Task, Waiting, call, environment


@dataclass(kw_only=True)
class Local(Engine):
    """Processes on this machine."""

    def run(self, tasks: Sequence[Task], work: Path) -> Outcomes:
        """See `Engine`."""
        waiting, idle, running = Waiting(tasks), list[_Place](), dict[Future[Outcome], tuple[Task, _Place]]()
        begun: list[_Place] = []
        try:
            while waiting or running:
                while len(running) < self.places() and (task := waiting.next()):
                    if not idle:
                        begun.append(_Place(self.variables()))
                        idle.append(begun[-1])
                    place = idle.pop()
                    self.note(task, "begins")
                    running[place.pool.submit(call, task)] = task, place
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    task, place = running.pop(future)
                    try:
                        outcome = future.result()
                        idle.append(place)
                    except BrokenProcessPool:
                        outcome = Outcome(task.key, error=LOST)
                        place.end()
                        begun.remove(place)
                    yield from waiting.ended(outcome)
        except BaseException as stop:
            traceback.clear_frames(stop.__traceback__)  # which keep the pool of a place that has just been made
            raise
        finally:
            for place in begun:
                place.end()
            gc.collect()  # gives back the semaphores of pools, although a command that is stopped leaves at once


class _Place:
    """A process that runs one task after the other."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin)
        try:
            with environment(variables):
                self._pid = self.pool.submit(os.getpid).result()
        except BaseException:  # a stop, while the process begins
            self._forget()
            raise

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGTERM)
        self._forget()

    def _forget(self) -> None:
        self.pool.shutdown(cancel_futures=True)
        del self.pool


def _begin() -> None:
    """End this process with the one that started it, however that ends; a Ctrl-C reaches that one alone."""
    os.setsid()
    threading.Thread(target=_follow, name="parent", daemon=True).start()
    # torch begins a progress bar, also where it shows none, whose lock would be a semaphore of the system. A process
    # that a signal ends leaves that behind, and Python warns of it.
    with contextlib.suppress(ImportError):
        from tqdm import tqdm

        tqdm.set_lock(threading.RLock())


def _follow() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
