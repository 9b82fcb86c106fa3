"""One deployment, for real: a cloud process, an edge process, a socket between them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.attacks.view import LENGTHS, SMASHED
from cutlayer.bounded import read_arrays, read_json, reason
from cutlayer.cloud import tap
from cutlayer.deployment import processes
from cutlayer.errors import DataError, Unreachable
from cutlayer.experiment.spec import Deployment, Experiment
from cutlayer.machine.contention import between, moment
from cutlayer.machine.files import part_of, writing
from cutlayer.records.files import delete, write_json
from cutlayer.sequences import padded
from cutlayer.split_folder import open_split
from cutlayer.trace import Columns


@dataclass(frozen=True)
class Observed:
    """The observations of one deployment.

    Attributes:
        deployment: Transport and runtime of the head.
        record: The edge's arrays: trace columns, logits, labels, and what each request carried.
        seen: What arrived of the private images, ``(n_releases, n_private, ...)`` by what an attack observes: the
            smashed data, and the lengths of its bytes.
        others: Share of all cores of the machine that other processes took meanwhile.
    """

    deployment: Deployment
    record: dict[str, NDArray[np.generic]]
    seen: dict[str, NDArray[np.float32]]
    others: float

    @property
    def releases(self) -> NDArray[np.float32]:
        """The private images' smashed data as they arrived, ``(n_releases, n_private, *smashed.shape)``."""
        return self.seen[SMASHED]

    @property
    def timed(self) -> Columns:
        """The trace columns of the timed test requests."""
        test = self.record["part"] == 0
        return {k: v[test] for k, v in self.record.items() if k.endswith(("_ns", "_bytes")) and v.shape == test.shape}

    @property
    def answers(self) -> NDArray[np.generic]:
        """What was answered for each test input, in their order, ``(N, numbers)``."""
        test = self.record["part"] == 0
        order = np.argsort(self.record["image"][test], kind="stable")
        answers: NDArray[np.generic] = self.record["logits"][test][order]
        return answers


def measure(
    experiment: Experiment,
    deployment: Deployment,
    folder: Path,
    work: Path,
    n_releases: int,
    data_root: Path | None,
    say: Callable[[str], None],
) -> Observed:
    """Send the test images and the private images from an edge process to a cloud process.

    Args:
        experiment: Number of images, codec and threads.
        deployment: Transport and runtime of the head.
        folder: The split folder.
        work: Folder of the record and the tap, in one folder for each deployment, which has its name when complete.
        n_releases: Number of times that each private image leaves the device; of several servers, each gets it once.
        data_root: Folder of the data sets that are not embedded.
        say: Called when there is work to do.
    """
    final = work / deployment.label
    length = open_split(folder).manifest.length
    observed = _kept(deployment, final, length, say) if final.exists() else None
    if observed is None:
        with writing(final):
            part = part_of(final)
            part.mkdir(parents=True)
        say(f"serving over {deployment.transport} with a head on {deployment.head}")
        before, setup, root = (
            moment(started=True),
            experiment.measure,
            [] if data_root is None else ["--data-root", data_root],
        )
        for number in range(setup.servers):
            # The first server answers the test images too; each of several gets one release of every private one.
            own = part if number == 0 else part / f"server-{number}"
            own.mkdir(exist_ok=True)
            server = ["--listen", f"{deployment.transport}://127.0.0.1:0", "--tap", own / "tap"]
            with processes.cloud(folder, *server, "--threads", setup.cloud_threads, codecs=[setup.codec]) as address:
                processes.edge(
                    folder, "--connect", address, "--head", deployment.head, "--data", experiment.data, *root,
                    "--seed", experiment.seed, "--count", 0 if number else setup.count, "--private", setup.private,
                    "--releases", n_releases if setup.servers == 1 else 1, "--warmup", setup.warmup,
                    "--codec", setup.codec, "--threads", setup.edge_threads, "--record", own / "record.npz",
                )  # fmt: skip
        write_json(part / "load.json", between(before, moment(started=True)).others)
        with writing(final):
            part.rename(final)
        observed = _read(deployment, final, length)
    return observed


def _read(deployment: Deployment, folder: Path, length: int | None) -> Observed:
    arrays = read_arrays(folder / "record.npz")
    others = read_json(folder / "load.json")
    if not isinstance(others, float | int):
        raise ValueError("load.json holds no number")
    seen = arrived(folder / "tap", arrays, length=length)
    for further in sorted(folder.glob("server-*")):
        more = arrived(further / "tap", read_arrays(further / "record.npz"), length=length)
        seen = {kind: np.concatenate([values, more[kind]]) for kind, values in seen.items()}
    return Observed(deployment, arrays, seen, others)


def _kept(deployment: Deployment, folder: Path, length: int | None, say: Callable[[str], None]) -> Observed | None:
    """What an interrupted run has measured; None, and the folder is deleted, where that is damaged."""
    try:
        return _read(deployment, folder, length)
    except (OSError, ValueError, KeyError, TypeError, DataError, Unreachable) as error:
        say(f"{folder} is damaged ({reason(error)}): measuring again")
        delete(folder)
        return None


def arrived(
    folder: Path,
    record: Mapping[str, NDArray[np.generic]],
    check: Callable[[dict[str, Any]], None] = lambda header: None,
    length: int | None = None,
) -> dict[str, NDArray[np.float32]]:
    """What the tap has of the private images, by what an attack observes.

    Args:
        folder: The tap.
        record: The device's arrays, which say what each request carried.
        check: Called with the header of each of these requests.
        length: Greatest length of a sequence; what arrived of a shorter one is zero behind its end.

    Returns:
        The smashed data, ``(n_releases, n_private, *smashed.shape)``, and the lengths, ``(n_releases, n_private, 1)``.

    Raises:
        Unreachable: A request that the edge got an answer for is not in the tap.
    """
    private = record["part"] == 1
    ids, releases, images = (record[name][private].tolist() for name in ("id", "release", "image"))
    where = dict(zip(ids, zip(releases, images, strict=True), strict=True))
    if not where:
        return {SMASHED: np.zeros((0, 0), np.float32), LENGTHS: np.zeros((0, 0, 1), np.float32)}
    shape = max(releases) + 1, max(images) + 1
    sizes = np.zeros((*shape, 1), np.float32)
    out: NDArray[np.float32] | None = None
    for header, smashed in tap.read(folder):
        place = where.pop(header["id"], None)
        if place is not None:
            check(header)
            smashed = smashed if length is None else padded(smashed, length)
            out = np.empty((*shape, *smashed.shape[1:]), np.float32) if out is None else out
            out[place], sizes[place] = smashed[0], header["length"]
    if where or out is None:
        raise Unreachable(
            f"The tap {folder} lacks {len(where)} of {len(ids)} requests of the record; run the experiment again."
        )
    return {SMASHED: out, LENGTHS: sizes}
