"""Every reader of our own files, with damaged ones: it reads, repairs, or raises an error of cutlayer.errors."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from cutlayer.cloud import tap
from cutlayer.errors import CutlayerError
from tests.fuzz.spoil import copied, spoil

GOLDEN = Path(__file__).parents[1] / "golden"
HANG_S = 20
LONGEST_SENTENCE = 2000


@dataclass(frozen=True)
class Reader:
    """What reads a folder.

    Attributes:
        build: Writes the folder, as cutlayer does.
        read: Reads it.
        spoiled: Patterns of the files that are damaged, one of them each time.
    """

    build: Callable[[Path], None]
    read: Callable[[Path], Any]
    spoiled: tuple[str, ...]


def _runs(folder: Path) -> None:
    """Two runs, of which the first is whole."""
    for name in ("0123456789ab", "295a94a24ab0"):
        shutil.copytree(GOLDEN / "run", folder / name)
    (folder / "0123456789ab" / "index.sqlite").rename(folder / "index.sqlite")


def _report(folder: Path) -> None:
    from cutlayer.report.runs import page

    page.write(folder)


def _write_index(folder: Path) -> None:
    from cutlayer.records.found import make_index

    _runs(folder)
    make_index(folder)


def _index(folder: Path) -> None:
    from cutlayer.records.found import make_index
    from cutlayer.records.reading import read

    runs, skipped = read(folder, arrays=False)
    assert [run.result.id for run in runs] == ["295a94a24ab0"] * 2
    assert skipped == []
    make_index(folder)


def _resume(folder: Path) -> None:
    """What `cutlayer run` prints of runs that are finished."""
    from cutlayer.records.reading import read_finished
    from cutlayer.report.runs.terminal import text

    text([result for path in sorted(folder.iterdir()) if (result := read_finished(path, print)) is not None])


def _compare(folder: Path) -> None:
    from cutlayer.commands.checks import compare

    with contextlib.suppress(SystemExit):
        compare(folder, GOLDEN / "profile", fail_if=["p50 > 1.1x", "bytes > 4096B"])


def _split(folder: Path) -> None:
    from cutlayer.defenses.base import deployed
    from cutlayer.split_folder import open_split

    split = open_split(folder)
    smashed = split.head()(np.zeros((1, *split.manifest.input.shape), np.float32))
    deployed(split).protect(smashed, np.random.default_rng(0))
    split.tail()(smashed)
    if split.has_halves:
        split.halves()


def _doctor(folder: Path) -> None:
    from cutlayer.doctor.files import check_split

    list(map(str, check_split(folder)))


def _write_checkpoint(folder: Path) -> None:
    import torch

    from cutlayer.protocols.checkpoint import Checkpoints

    kept = Checkpoints(folder, "a plan")
    kept.secret()
    state = {"conv.weight": torch.ones(2, 3)}, {"conv.weight/momentum_buffer": torch.zeros(2, 3)}
    kept.save(1, *state, {"plan": "a plan", "rounds": 1, "traffic": [["up", "step", "smashed", 17]]})


def _checkpoint(folder: Path) -> None:
    from cutlayer.protocols.checkpoint import Checkpoints

    kept = Checkpoints(folder, "a plan")
    kept.secret()
    kept.load(max(kept.last() or 0, 1))


def _tap(folder: Path) -> None:
    for _ in tap.read(folder):
        pass


def _continued_tap(folder: Path) -> None:
    tap.Tap(folder).close()


def _queue(folder: Path) -> None:
    from cutlayer.edge.offline.queue import Queue

    queue = Queue(folder, 1 << 20)
    try:
        while len(queue):
            place, _ = queue.first()
            queue.done(place)
    finally:
        queue.close()


def _plan(folder: Path) -> None:
    from cutlayer.experiment import plan

    plan.load(folder / "experiment.toml")


PLAN: dict[str, Any] = {
    "name": "x", "data": "digits", "cut": ["conv1"], "seed": [0, 1], "expect": [], "input": "",
    "model": {"name": "he_lenet", "mean": [0.5], "std": [0.5]},
    "training": {"epochs": 1, "lr": 0.01, "batch": 3, "flip": True, "images": 100},
    "measure": {"count": 5, "private": 3, "auxiliary": 5, "warmup": 1, "codec": "int8:channel", "edge_threads": 1},
    "deployment": [{"transport": "zmq", "head": "onnx"}],
    "defense": [
        {"name": "gaussian-noise", "sigma": [0.1, 0.5], "then": {"name": "quantize", "bits": 3}},
        {"name": "shredder", "scale": 0.5, "title": "a"},
    ],
    "attack": [
        {"name": "averaging", "n_releases": [1, 4], "attack": "ridge", "options": {"n_auxiliary": 5}},
        {"name": "white-box", "lr": [0.5], "tv": [0.1], "misfit": ["plain"]},
    ],
    "published": [{"attack": "ridge", "cut": "conv1", "source": "x", "psnr": 3.0}],
}  # fmt: skip


def _table(folder: Path) -> None:
    """A plan whose TOML is whole and says something wrong."""
    from cutlayer.bounded import read_json
    from cutlayer.experiment import plan

    try:
        table = read_json(folder / "plan.json")
    except (OSError, ValueError):
        return  # the damage is that of the JSON, which only these tests have
    if isinstance(table, dict):
        plan.parse(table)


def _write_table(folder: Path) -> None:
    (folder / "plan.json").write_text(json.dumps(PLAN))


def _weights(folder: Path) -> None:
    import torch

    from cutlayer.models.weights import read

    torch.manual_seed(0)
    for name in ("weights.pt", "weights.safetensors"):
        if (folder / name).exists() or (folder / name).is_symlink():
            read(folder / name)


def _write_weights(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    state = {"a.weight": torch.ones(4, 3), "a.bias": torch.zeros(4)}
    torch.save(state, folder / "weights.pt")
    save_file(state, folder / "weights.safetensors")


def _write_arrays(folder: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {"x": rng.integers(255, size=(24, 4, 4), dtype=np.uint8), "y": np.arange(24) % 3}
    np.savez_compressed(folder / "data.npz", **arrays)
    (folder / "arrays").mkdir()
    for name, array in arrays.items():
        np.save(folder / "arrays" / f"{name}.npy", array)


def _arrays(folder: Path) -> None:
    from cutlayer.data.path import open_path

    for path in (folder / "data.npz", folder / "arrays"):
        open_path(path, "data", 0).loaded()


@cache
def _certificates() -> Path:
    from cutlayer.wire.certs import init

    folder = Path(tempfile.mkdtemp())
    init(folder / "certs", [])
    return folder / "certs"


def _secured(folder: Path) -> None:
    from cutlayer.doctor.files import check_security
    from cutlayer.wire.security import Security

    def at(*names: str) -> list[Path]:
        return [folder / name for name in names]

    ca, cert, key, token = at("ca.pem", "server.pem", "server.key", "token")
    list(map(str, check_security(Security(ca=ca, cert=cert, key=key, token_file=token))))


READERS: dict[str, Reader] = {
    "report": Reader(_runs, _report, ("295a94a24ab0/*.json", "295a94a24ab0/*.npz")),
    "resumed runs": Reader(_runs, _resume, ("295a94a24ab0/result.json",)),
    "index": Reader(_write_index, _index, ("index.sqlite",)),
    "old index": Reader(_runs, _index, ("index.sqlite",)),
    "compare": Reader(lambda folder: copied(GOLDEN / "profile", folder), _compare, ("profile.json",)),
    "split": Reader(lambda folder: copied(GOLDEN / "split-torch", folder), _split, ("*",)),
    "split.json": Reader(lambda folder: copied(GOLDEN / "split-tiny", folder), _split, ("split.json",)),
    "doctor": Reader(lambda folder: copied(GOLDEN / "split-tiny", folder), _doctor, ("*",)),
    "checkpoint": Reader(_write_checkpoint, _checkpoint, ("*", "round-1/*")),
    "tap": Reader(lambda folder: copied(GOLDEN / "tap", folder), _tap, ("*",)),
    "continued tap": Reader(lambda folder: copied(GOLDEN / "tap", folder), _continued_tap, ("*",)),
    "queue": Reader(lambda folder: copied(GOLDEN / "queue", folder), _queue, ("*",)),
    "plan": Reader(lambda folder: copied(GOLDEN / "run", folder), _plan, ("experiment.toml",)),
    "table of a plan": Reader(_write_table, _table, ("plan.json",)),
    "weights": Reader(_write_weights, _weights, ("*",)),
    "arrays": Reader(_write_arrays, _arrays, ("*.npz", "arrays/*.npy")),
    "keys": Reader(lambda folder: copied(_certificates(), folder), _secured, ("*",)),
}


class Hang(BaseException):
    """A reader that does not come back."""


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise `Hang` in the main thread after this time."""

    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def outcomes(name: str, n: int, seed: int, hang_s: float = HANG_S) -> Iterator[tuple[str, str, BaseException | None]]:
    """Damage a folder n times; yield the outcome, what was done, and the error that is none of cutlayer's."""
    reader, rng = READERS[name], np.random.default_rng([seed, *name.encode()])
    with tempfile.TemporaryDirectory() as parent:
        whole, damaged = Path(parent, "whole"), Path(parent, "damaged")
        whole.mkdir()
        reader.build(whole)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            copied(whole, damaged)
            reader.read(damaged)
        for _ in range(n):
            copied(whole, damaged)
            files = sorted({path for pattern in reader.spoiled for path in damaged.glob(pattern) if path.is_file()})
            path = files[int(rng.integers(len(files)))]
            what, outcome, fault = f"{path.name}: {spoil(path, rng)}", "read", None
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                try:
                    with within(hang_s):
                        reader.read(damaged)
                except CutlayerError as error:
                    outcome = "refused"
                    if len(str(error)) > LONGEST_SENTENCE or "\n" in str(error):
                        outcome, fault = "failed", error
                except (Exception, Hang) as error:
                    outcome, fault = "failed", error
            yield outcome, what, fault


def fuzz(name: str, n: int, seed: int) -> Counter[str]:
    """Return how many damaged folders were read, and how many refused.

    Raises:
        AssertionError: Another error than those of cutlayer, a hang, or a sentence that is too long.
    """
    counts: Counter[str] = Counter()
    for outcome, what, fault in outcomes(name, n, seed):
        if fault is not None:
            raise AssertionError(f"{type(fault).__name__} for {what}: {fault!s:.300}") from fault
        counts[outcome] += 1
    return counts
