"""Tasks as jobs of a Slurm cluster, which submitit submits; as processes of this machine where there is no Slurm."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from cutlayer.errors import ConfigError, missing_package
from cutlayer.experiment.engines.base import LOST, Engine, Outcome, Outcomes, Task, Waiting, call, environment, unfit
from cutlayer.options import Whole

NAMES = {
    "partition": "slurm_partition",
    "account": "slurm_account",
    "constraint": "slurm_constraint",
    "minutes": "timeout_min",
    "gpus": "gpus_per_node",
    "memory_gb": "mem_gb",
    "cpus": "cpus_per_task",
    "workers": "slurm_array_parallelism",
}
"""How submitit calls the options of this engine; those at 0 or empty are left to the cluster."""

FOREVER_MIN = 1_000_000
"""The time of a process on this machine, which submitit would end after 2 minutes."""

LATE_S = 30.0
"""How long after the end of a job its outcome may appear, as on a network file system."""

EVERY_HERE_S, EVERY_SLURM_S = 0.1, 5.0
"""How often files of outcomes are looked for."""


@dataclass(kw_only=True)
class Slurm(Engine):
    """Jobs of a Slurm cluster, by submitit.

    Args:
        partition: Where the jobs run.
        account: Who pays for them.
        constraint: What their machines must have.
        minutes: The longest time of a job, in minutes.
        gpus: GPUs of each task.
        memory_gb: Memory of each task, in GB.
    """

    partition: str = ""
    account: str = ""
    constraint: str = ""
    minutes: Whole = 0
    gpus: Whole = 0
    memory_gb: Whole = 0

    def __post_init__(self) -> None:
        try:
            import submitit  # noqa: F401
        except ModuleNotFoundError as error:
            raise ConfigError(f"The engine slurm cannot be used: {missing_package(error)}") from error

    def where(self) -> str:
        """See `Engine`."""
        import submitit

        if submitit.AutoExecutor.which() == "slurm":
            return ""
        return (
            f"There is no Slurm here (no sbatch): submitit runs {self.places()} at once as processes of this machine."
        )

    def run(self, tasks: Sequence[Task], work: Path) -> Outcomes:
        """See `Engine`. The jobs run on after a `kill -9` of this process, and are cancelled by any other end."""
        import submitit

        executor = submitit.AutoExecutor(work.absolute(), cluster=submitit.AutoExecutor.which())
        parameters = {name: value for option, name in NAMES.items() if (value := getattr(self, option))}
        executor.update_parameters(**parameters, name="cutlayer")
        if executor.cluster == "slurm":
            yield from self._submitted(tasks, executor)
        else:
            executor.update_parameters(timeout_min=self.minutes or FOREVER_MIN)
            yield from self._here(tasks, executor)

    def _here(self, tasks: Sequence[Task], executor: Any) -> Outcomes:
        """Processes of this machine know no dependencies and no limit, so each begins when its turn has come."""
        waiting, running = Waiting(tasks), dict[str, tuple[Task, Any]]()
        try:
            while waiting or running:
                while len(running) < self.places() and (task := waiting.next()):
                    self.note(task, "begins")
                    with environment(self.variables()):
                        running[task.key] = task, executor.submit(call, task)
                for task, job in [entry for entry in running.values() if entry[1].done()]:
                    del running[task.key]
                    yield from waiting.ended(_outcome(task.key, job))
                time.sleep(EVERY_HERE_S)
        finally:
            for _, job in running.values():
                _kill(int(job.job_id))
                while not job.done():
                    time.sleep(EVERY_HERE_S)

    def _submitted(self, tasks: Sequence[Task], executor: Any) -> Outcomes:
        """Everything is submitted at once; Slurm lets a job wait for those before it.

        Tasks that wait for the same ones make an array, of which `workers` run at once.
        """
        arrays: dict[tuple[str, ...], list[Task]] = {}
        for task in tasks:
            arrays.setdefault(task.after, []).append(task)
        setup = [f"export {name}={shlex.quote(value)}" for name, value in self.variables().items()]
        jobs, left = dict[str, Any](), {task.key: task for task in tasks}
        try:
            for after, members in arrays.items():
                before = {key: jobs[key] for key in after}
                # A job that waits for one that failed begins as well, and says so.
                ids = ":".join(job.job_id for job in before.values())
                extra = {"dependency": f"afterany:{ids}"} if ids else {}
                executor.update_parameters(slurm_setup=setup, slurm_additional_parameters=extra)
                with executor.batch():
                    jobs |= {task.key: executor.submit(call_after, task, before) for task in members}
                for task in members:
                    self.note(task, f"is submitted to Slurm as job {jobs[task.key].job_id}")
            unknown_s: dict[str, float] = {}
            while left:
                queued = _queued()
                for task in list(left.values()):
                    job = jobs[task.key]
                    # A file that a machine has written may be seen late on another one.
                    since_s = unknown_s.setdefault(task.key, time.monotonic())
                    if queued is None or job.job_id in queued:
                        unknown_s[task.key] = time.monotonic()
                    if _has_result(job) or time.monotonic() - since_s > LATE_S:
                        del left[task.key]
                        yield _outcome(task.key, job)
                time.sleep(EVERY_SLURM_S if left else 0)
        finally:
            for key in left:
                if key in jobs:
                    jobs[key].cancel(check=False)


def _kill(pid: int) -> None:
    """End a process of submitit and the one that it watches, which otherwise print where they were."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


def call_after(task: Task, before: dict[str, Any]) -> Outcome:
    """Run a task in a job, after the jobs of others, which have ended."""
    give_up_s = time.monotonic() + LATE_S
    for key, job in before.items():
        while not _has_result(job) and time.monotonic() < give_up_s:
            time.sleep(1)
        if (outcome := _outcome(key, job)).error:
            return unfit(task, outcome)
    return call(task)


def _has_result(job: Any) -> bool:
    with contextlib.suppress(OSError):
        list(job.paths.folder.iterdir())  # lets a network file system look again
    return bool(job.paths.result_pickle.exists())


def _outcome(key: str, job: Any) -> Outcome:
    """What a job that has ended has left."""
    if not _has_result(job):
        return Outcome(key, error=LOST, traceback=job.stderr() or "")
    found: Outcome = job.result()
    return found


def _queued() -> set[str] | None:
    """The ids of this user's jobs that Slurm has not ended yet; None where it does not say."""
    words = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    try:
        return set(subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout.split())
    except (OSError, subprocess.SubprocessError):
        return None
