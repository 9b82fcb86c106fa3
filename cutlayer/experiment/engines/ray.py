"""Tasks on a Ray cluster, or on a Ray that this process starts for itself on this machine."""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cutlayer.errors import ConfigError, Unreachable, missing_package
from cutlayer.experiment.engines.base import LOST, Engine, Outcome, Outcomes, Task, call, sentence, unfit
from cutlayer.foreign import shown
from cutlayer.options import Whole, Within

ANSWER_S = 5.0
"""Seconds within which a cluster must answer."""

STORE_BYTES = 128 << 20
"""Memory for objects of a Ray of our own: outcomes are short texts."""


@dataclass(kw_only=True)
class Ray(Engine):
    """A Ray cluster, or a Ray of its own on this machine.

    Args:
        address: HOST:PORT of a cluster of which this machine is a part, or ray://HOST:PORT of another one; if empty,
            RAY_ADDRESS, or a Ray of its own.
        gpus: GPUs of each task; a part of one, such as 0.5, lets tasks share it.
        retries: How often a task is run again whose machine or process has died.
    """

    address: str = ""
    gpus: Annotated[float, Within(0, 64)] = 0.0
    retries: Whole = 3

    def __post_init__(self) -> None:
        # Read when Ray is imported: it sends no statistics, and hides no GPU from tasks that ask for none.
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray  # noqa: F401
        except ModuleNotFoundError as error:
            raise ConfigError(f"The engine ray cannot be used: {missing_package(error)}") from error

    def run(self, tasks: Sequence[Task], work: Path) -> Outcomes:
        """See `Engine`. The tasks of a cluster are cancelled when this process ends."""
        import ray

        with self._connected():
            self._check_resources()
            remote = ray.remote(call).options(
                num_cpus=self.cpus,
                num_gpus=self.gpus,
                max_retries=self.retries,
                runtime_env={"env_vars": self.variables()},
            )
            by_key, references, ended = {task.key: task for task in tasks}, dict[str, Any](), dict[str, Outcome]()
            left, running = list(reversed(tasks)), dict[Any, Task]()

            def outcome(task: Task) -> Outcome:
                if task.key not in ended:
                    try:
                        ended[task.key] = ray.get(references[task.key])
                    except ray.exceptions.RayError as error:
                        before = [outcome(by_key[key]) for key in task.after]
                        failed = next((one for one in before if one.error), None)
                        ended[task.key] = unfit(task, failed) if failed else Outcome(task.key, error=_died(error))
                return ended[task.key]

            try:
                while left or running:
                    while left and (not self.workers or len(running) < self.workers):
                        task = left.pop()
                        self.note(task, "is submitted to Ray")
                        # Outcomes go from task to task by reference, which is how Ray orders them.
                        references[task.key] = remote.remote(task, *(references[key] for key in task.after))
                        running[references[task.key]] = task
                    done, _ = ray.wait(list(running), num_returns=1)
                    for reference in done:
                        yield outcome(running.pop(reference))
            finally:
                for reference in running:
                    ray.cancel(reference, force=True)

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Within it, this process works with the cluster; with that of a program which has connected it already."""
        import ray

        if ray.is_initialized():
            yield
            return
        address = self.address or os.environ.get("RAY_ADDRESS", "")
        if address:
            check_answers(address)
            where: dict[str, Any] = {"address": address}
        else:
            here = {"num_cpus": self.places() * self.cpus, "object_store_memory": STORE_BYTES}
            where = {"address": "local", "include_dashboard": False, **here}
        before = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            first = sentence(error).strip().partition("\n")[0]
            raise Unreachable(
                f"Ray cannot work with {address or 'a cluster of its own'}: {first}",
                "check that its version is the same there, and that this machine is a part of the cluster",
            ) from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
        try:
            yield
        finally:
            ray.shutdown()

    def _check_resources(self) -> None:
        """Refuse what no machine of the cluster has, and for which Ray would wait."""
        import ray

        has = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(one.get("CPU", 0) >= self.cpus and one.get("GPU", 0) >= self.gpus for one in has):
            most = {kind: max((one.get(kind, 0) for one in has), default=0) for kind in ("CPU", "GPU")}
            raise ConfigError(
                f"No machine of the Ray cluster has the {self.cpus} cores and {self.gpus:g} GPUs of one task; the most "
                f"that one has are {most['CPU']:g} and {most['GPU']:g}. Set --option cpus=... or --option gpus=..."
            )


def check_answers(address: str) -> None:
    """Refuse an address at which no Ray answers within seconds; Ray itself would try for minutes.

    Raises:
        ConfigError: It is no address.
        Unreachable: Nothing answers there.
    """
    import grpc

    if address == "auto":
        return
    match = re.fullmatch(r"(?:ray://)?(.+):(\d{1,5})", address)
    if match is None:
        raise ConfigError(f"--address takes HOST:PORT of a Ray cluster, such as head:6379; {address!r:.80} was given.")
    do = "check that `ray start --head` runs there and that no firewall blocks the port"
    with grpc.insecure_channel(f"{match[1]}:{match[2]}") as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=ANSWER_S)
        except grpc.FutureTimeoutError:
            raise Unreachable(f"No Ray answers at {shown(address, 80)} (waited {ANSWER_S:.0f} s)", do) from None


def _died(error: Exception) -> str:
    """Why a task has no outcome, although it was tried again."""
    import ray

    if isinstance(error, ray.exceptions.WorkerCrashedError):
        return LOST
    return f"Its process or its machine has ended: {sentence(error).strip().partition(chr(10))[0]}"
