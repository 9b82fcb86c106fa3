"""The time that a defense adds to a request: the deployment takes turns with the same one of the undefended model.

Two measurements that are minutes apart differ by what else the machine did. Here both pairs of device and server run
at the same time, and send in turns, a few requests each: a busy moment meets both alike.
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from cutlayer.bounded import read_arrays, reason
from cutlayer.deployment import processes
from cutlayer.deployment.device_process import open_device
from cutlayer.experiment.spec import Deployment, Experiment
from cutlayer.metrics.interval import bootstrap
from cutlayer.progress import track
from cutlayer.records.files import delete, write_array, write_arrays
from cutlayer.records.run import Estimate
from cutlayer.split_folder import Runtime

SIDES = ("defended", "undefended")
IN_A_TURN = 20
"""Requests of one side before it is the other's turn: few, so that both meet the same moment of the machine."""

DEADLINE_S = 60.0


def take_turns(
    experiment: Experiment,
    deployment: Deployment,
    folders: tuple[Path, Path],
    images: NDArray[np.float32],
    work: Path,
    say: Callable[[str], None],
) -> dict[str, NDArray[np.int64]]:
    """End-to-end times in ns of each side by its name in `SIDES`, ``(rounds, IN_A_TURN)``.

    Args:
        experiment: Number of rounds, codec and threads.
        deployment: Transport and runtime of the head.
        folders: The split folders of the two sides.
        images: The test images, ``(N, *input.shape)``.
        work: Folder of the times, which a later call reads.
        say: Called when there is work to do.
    """
    final = work / f"{deployment.label}.turns.npz"
    kept = _kept(final, say) if final.exists() else None
    if kept is None:
        say(f"taking {experiment.measure.turns} turns with the undefended model over {deployment.label}")
        write_array(work / "images.npy", images)
        times = _measure(experiment, deployment, folders, work / "images.npy")
        write_arrays(final, times)
        return times
    return kept


def _kept(path: Path, say: Callable[[str], None]) -> dict[str, NDArray[np.int64]] | None:
    """The times of an interrupted run; None, and the file is deleted, where it is damaged."""
    try:
        arrays = read_arrays(path)
        return {side: arrays[side] for side in SIDES}
    except (OSError, ValueError, KeyError) as error:
        say(f"{path} is damaged ({reason(error)}): taking turns again")
        delete(path)
        return None


def added(times: dict[str, NDArray[np.int64]], seed: int) -> Estimate:
    """What the defense adds to the median request of a round, in ns: the median over the rounds, which are resampled.

    Not the mean: in some rounds another process stops one of the two sides for milliseconds.
    """
    defended, undefended = (np.median(times[side], axis=1) for side in SIDES)
    return bootstrap(defended - undefended, seed, np.median)


def _measure(
    experiment: Experiment, deployment: Deployment, folders: tuple[Path, Path], images: Path
) -> dict[str, NDArray[np.int64]]:
    setup, head = experiment.measure, cast(Runtime, deployment.head)
    taken: dict[str, list[Any]] = {side: [] for side in SIDES}
    with ExitStack() as stack:
        sides = []
        for side, folder in zip(SIDES, folders, strict=True):
            listen = "--listen", f"{deployment.transport}://127.0.0.1:0", "--threads", setup.cloud_threads
            address = stack.enter_context(processes.cloud(folder, *listen, codecs=[setup.codec]))
            device = open_device(folder, images, head=head, threads=setup.edge_threads, cores=(), quota=None)
            run, _ = stack.enter_context(device)
            sides.append((side, run, address))
        for number in track(range(-1, setup.turns), "taking turns"):
            # Who goes first changes, so that neither always finds the caches as the other left them.
            for side, run, address in sides if number % 2 else reversed(sides):
                columns = run(
                    "requests", address=address, codec=setup.codec, samples=IN_A_TURN, seconds=DEADLINE_S,
                    least=IN_A_TURN, request_s=DEADLINE_S, security={},
                )  # fmt: skip
                if number >= 0:  # The first round warms up.
                    taken[side].append(columns["end_to_end_ns"])
    return {side: np.array(rounds, np.int64) for side, rounds in taken.items()}
