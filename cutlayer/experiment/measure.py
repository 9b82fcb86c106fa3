"""One deployment, for real: a cloud process, an edge process, a socket between them."""

import contextlib
import ctypes
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloud import tap
from cutlayer.errors import Unreachable
from cutlayer.experiment.nouns import Deployment, Experiment
from cutlayer.trace import Columns

READY_S = 60.0
STOP_S = 15.0


@dataclass(frozen=True)
class Observed:
    """What one deployment gave.

    Attributes:
        deployment: Which.
        record: The edge's arrays: trace columns, logits, labels, and what each request carried.
        releases: ``(n_releases, n_private, *smashed.shape)``, the private images' smashed data as they arrived.
    """

    deployment: Deployment
    record: dict[str, NDArray[np.generic]]
    releases: NDArray[np.float32]

    @property
    def timed(self) -> Columns:
        """The trace columns of the timed test requests."""
        test = self.record["part"] == 0
        return {k: v[test] for k, v in self.record.items() if k.endswith(("_ns", "_bytes")) and v.shape == test.shape}

    @property
    def correct(self) -> tuple[int, int]:
        """Right answers and answers, over the test images."""
        test = self.record["part"] == 0
        answers = self.record["logits"][test].argmax(axis=1)
        return int((answers == self.record["labels"][test]).sum()), int(test.sum())


def measure(
    experiment: Experiment, deployment: Deployment, folder: Path, work: Path, n_releases: int, data_root: Path | None
) -> Observed:
    """Send the test images and the private images from an edge process to a cloud process.

    Args:
        experiment: What to send.
        deployment: Transport and runtime of the head.
        folder: The split folder.
        work: Where the record and the tap stay; complete once it has its final name, so an interrupted one is redone.
        n_releases: How often each private image leaves the device.
        data_root: Passed on to the edge.
    """
    final = work / deployment.label
    if not final.exists():
        part = work / f"{deployment.label}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _run(experiment, deployment, folder, part, n_releases, data_root)
        part.rename(final)
    with np.load(final / "record.npz", allow_pickle=False) as record:
        arrays = dict(record)
    return Observed(deployment, arrays, arrived(final / "tap", arrays))


def arrived(folder: Path, record: dict[str, NDArray[np.generic]]) -> NDArray[np.float32]:
    """The private releases from the tap, ``(n_releases, n_private, *smashed.shape)``.

    Raises:
        Unreachable: A request that the edge got an answer for is not in the tap.
    """
    private = record["part"] == 1
    ids = record["id"][private]
    where = {str(i): (int(r), int(n)) for i, r, n in zip(ids, record["release"][private], record["image"][private], strict=True)}
    if not where:
        return np.zeros((0, 0), np.float32)
    shape = tuple(np.array(list(where.values())).max(axis=0) + 1)
    out: NDArray[np.float32] | None = None
    for header, smashed in tap.read(folder):
        place = where.pop(header["id"], None)
        if place is not None:
            out = np.empty((*shape, *smashed.shape[1:]), np.float32) if out is None else out
            out[place] = smashed[0]
    if where or out is None:
        raise Unreachable(f"The tap {folder} lacks {len(where)} of {len(ids)} requests; run the experiment again.")
    return out


def _run(
    experiment: Experiment, deployment: Deployment, folder: Path, work: Path, n_releases: int, data_root: Path | None
) -> None:
    setup = experiment.measure
    cloud = ["cloud", folder, "--listen", f"{deployment.transport}://127.0.0.1:0", "--tap", work / "tap", "--threads", setup.cloud_threads]
    with process(*cloud) as (server, address):
        root = [] if data_root is None else ["--data-root", data_root]
        edge = command(
            "edge", folder, "--connect", address, "--head", deployment.head, "--data", experiment.data, "--seed", experiment.seed,
            "--count", setup.count, "--private", setup.private, "--releases", n_releases, "--warmup", setup.warmup,
            "--codec", setup.codec, "--threads", setup.edge_threads, "--record", work / "record.npz", *root,
        )  # fmt: skip
        done = subprocess.run(edge, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unreachable(f"The edge ({deployment.label}) failed: {_last_line(done.stderr)}")
        if server.poll() is not None:
            raise Unreachable(f"The cloud ({deployment.label}) ended by itself with exit code {server.returncode}.")


def command(*words: object) -> list[str]:
    """`cutlayer WORDS` run by this interpreter."""
    return [sys.executable, "-m", "cutlayer.cli", *map(str, words)]


@contextlib.contextmanager
def process(*words: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A `cutlayer cloud` that has said where it listens; ended by SIGTERM, so that the tap is complete afterwards.

    Raises:
        Unreachable: It ended, or did not get ready in time; the message holds its last words.
    """
    server = subprocess.Popen(
        command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_die_with_parent
    )
    assert server.stdout is not None
    try:
        ready, _, _ = select.select([server.stdout], [], [], READY_S)
        words_said = server.stdout.readline().split() if ready else []
        if words_said[:1] != ["ready"]:
            server.kill()
            raise Unreachable(f"The cloud did not get ready: {_last_line(server.communicate()[1])}")
        yield server, words_said[1]
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.communicate()


def _die_with_parent() -> None:
    """On Linux, let the kernel end the cloud when the experiment is killed, so that no server is left behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].removeprefix("cutlayer: ") if lines else "it said nothing."
