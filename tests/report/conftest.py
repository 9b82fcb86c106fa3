"""Generated runs that follow the schema of `result.json`: several defenses, deployments and attacks."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cutlayer.percentiles import percentiles
from cutlayer.records.reconstructions import Reconstructions
from cutlayer.records.run import Result, load_result
from cutlayer.trace import STAGES

ATTACKS = (
    ("mean-image", "mean-image", "QUERY_FREE", 0.0),
    ("nearest", "nearest", "BLACK_BOX", 0.45),
    ("ridge", "ridge", "BLACK_BOX", 0.88),
    ("decoder", "decoder res_normN4C64", "BLACK_BOX", 0.93),
    ("white-box", "white-box", "WHITE_BOX", 0.96),
    ("averaging", "averaging ridge x16", "BLACK_BOX", 0.90),
)
DEPLOYMENTS = ("zmq-onnx", "grpc-onnx")
ENV = {
    "cutlayer": "0.1.0", "commit": "084512b", "dirty": False, "python": "3.11.7", "platform": "Linux x86_64",
    "cpu": "AMD EPYC 9B14", "cores": 2, "memory_bytes": 8_000_000_000, "gpu": None,
    "packages": {"numpy": "2.3.5", "torch": "2.13.0"}, "threads": {"edge": 1, "cloud": 1, "attacker": 2},
    "clock": "time.monotonic_ns resolution 1 ns", "started": "2026-01-02T03:04:05Z",
}  # fmt: skip


def estimate(value: float, half: float, n: int = 64) -> dict[str, float]:
    return {"value": value, "n": n, "low": value - half, "high": value + half}


def noise_label(sigma: float) -> str:
    return f"gaussian-noise sigma={sigma}" if sigma else "none"


def result(run_id: str, sigma: float) -> dict[str, Any]:
    """The content of a `result.json`; the undefended baseline when sigma is 0."""
    attacks = [
        attack(*names, ceiling / (1 + sigma), deployment) for deployment in DEPLOYMENTS for *names, ceiling in ATTACKS
    ]
    worst = max(attacks, key=lambda a: a["leakage_gain"]["value"])
    of_attack = ("attack", "label", "deployment", "access", "n_releases", "leakage_gain")
    flag = {"flag": "weaker-beats-stronger", "text": "ridge beats white-box: the latter is not at its best."}
    return {
        "schema": 1, "id": run_id, "name": "demo", "claim": "Noise hides pictures, at a price.", "seed": 0,
        "data": "photos", "classes": ["astronaut", "cat", "coffee", "rocket"], "model": "vgg11_bn", "cut": "features.7",
        "input": [3, 32, 32], "smashed": [128, 8, 8], "candidates": 64,
        "defense": {"name": "gaussian-noise", "sigma": sigma} if sigma else {"name": "none"},
        "defense_label": noise_label(sigma), "defense_facts": {},
        "utility": {"accuracy": estimate(0.804 - 0.06 * sigma, 0.036, 500), "baseline": estimate(0.804, 0.035, 500)},
        "privacy": attacks,
        "identification": [
            identification(a["attack"], a["label"], a["access"], a["deployment"], a["n_releases"], "pixels", share)
            for a in attacks
            if (share := a["metrics"]["identification"]["value"])
        ]
        + [
            identification("watch-list", label, "WHITE_BOX", deployment, n, "watch list", 1 - sigma / (5 + 5 * n))
            for n, label in ((1, "watch-list"), (8, "watch-list n_releases=8"))[: 1 + bool(sigma)]
            for deployment in DEPLOYMENTS
        ],
        "worst_case": {key: worst[key] for key in of_attack} | worst["metrics"],
        "spectrum": {
            "n": 4, "directions": 256, "variance": 0.97,
            "head": {"passed": 256.0, "condition": 40.0 * (1 + sigma) ** 3, "largest": 3.0},
            "undefended": {"passed": 256.0, "condition": 40.0, "largest": 3.0},
        },
        "ceiling": ceiling(sigma),
        "cost": [cost(deployment, sigma, 300) for deployment in DEPLOYMENTS],
        "flags": [flag] if sigma else [],
        "seconds": {"train": 60.1, "measure": 4.2, "attack": 40.0},
    }  # fmt: skip


def ceiling(sigma: float) -> dict[str, Any]:
    if not sigma:
        return {"none": "deterministic"}
    entries = [
        {"n_releases": n, "identified": estimate(0.9, 0.02, 2000), "leakage_gain": estimate(1 / (1 + sigma / n), 0.01)}
        for n in (1, 4, 16)
    ]
    return {"candidates": 64, "at": entries, "gone_after": 20.5 if sigma < 1 else None, "tried": 65536}


def attack(name: str, label: str, access: str, gain: float, deployment: str) -> dict[str, Any]:
    mse = 0.07 * (1 - gain)
    metrics = {
        "mse": estimate(mse, mse / 10),
        "psnr": estimate(-10 * float(np.log10(mse)), 0.4),
        "ssim": estimate(0.1 + 0.87 * gain, 0.02),
        "identification": estimate(max(0.001, gain * 0.98), 0.03),
    }
    return {
        "attack": name, "label": label, "access": access, "deployment": deployment, "n": 64,
        "n_releases": 16 if name == "averaging" else 1, "fit_s": 2.04, "invert_s": 0.13, "metrics": metrics,
        "leakage_gain": estimate(gain, 0.015),
    }  # fmt: skip


def identification(
    name: str, label: str, access: str, deployment: str, n_releases: int, how: str, share: float
) -> dict[str, Any]:
    ranks = [1, 2, 3, 4, 6, 10, 16, 25, 40, 64]
    curve = [1 - (1 - share) * (1 - np.log(rank) / np.log(64)) for rank in ranks]
    return {
        "attack": name, "label": label, "access": access, "deployment": deployment, "n_releases": n_releases,
        "how": how, "candidates": 64, "top_1": estimate(share, 0.03), "top_10": estimate(curve[5], 0.03),
        "ranks": ranks, "curve": curve,
    }  # fmt: skip


def stage_ns(deployment: str, sigma: float, n: int) -> dict[str, NDArray[np.int64]]:
    rng = np.random.default_rng(len(deployment))
    medians = (1_800_000, 120_000 * bool(sigma), 9_000, 640_000, 15_000, 11_000, 1_450_000, 8_000, 60_000)
    typical = dict(zip(STAGES, medians, strict=True))
    typical["network"] *= 2 if deployment.startswith("grpc") else 1
    columns = {f"{s}_ns": (ns * rng.lognormal(0, 0.1, n)).astype(np.int64) for s, ns in typical.items()}
    return {**columns, "end_to_end_ns": sum(columns.values(), np.zeros(n, np.int64))}


def cost(deployment: str, sigma: float, n: int) -> dict[str, Any]:
    samples = stage_ns(deployment, sigma, n)
    spread = {name: percentiles(column) for name, column in samples.items()}
    transport, head = deployment.split("-")
    return {
        "deployment": deployment, "transport": transport, "head": head, "n": n,
        "stages": {s: spread[f"{s}_ns"] for s in STAGES}, "end_to_end": spread["end_to_end_ns"],
        "first_request_ns": 9_000_000, "tensor_bytes": 32768, "message_bytes": 32950, "kernel_bytes": 33100,
        "edge_peak_rss_bytes": 66_000_000, "energy_j": None, "energy_source": "none",
    }  # fmt: skip


def write_run(runs: Path, record: dict[str, Any]) -> None:
    """One finished run folder; reconstructions are the originals, fading to grey as the leakage falls."""
    rng = np.random.default_rng(0)
    originals = rng.integers(0, 256, (12, *record["input"]), dtype=np.uint8)
    folder = runs / record["id"]
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(record))
    (folder / "env.json").write_text(json.dumps(ENV))
    rebuilt = {}
    for row in record["privacy"]:
        gain = row["leakage_gain"]["value"]
        noise = rng.normal(0, 60 * (1 - gain) * (gain > 0), originals.shape)
        blurred = gain * originals + (1 - gain) * originals.mean(0) + noise
        rebuilt[row["deployment"], row["label"]] = (np.clip(blurred, 0, 255) / 255).astype(np.float16)
    labels = np.arange(len(originals)) % len(record["classes"])
    pictures = Reconstructions((originals / 255).astype(np.float16), labels, np.arange(0, 12), rebuilt)
    np.savez_compressed(folder / "reconstructions.npz", **pictures.arrays())
    sigma = record["defense"].get("sigma", 0.0)
    traces = {
        f"{c['deployment']}/{k}": v for c in record["cost"] for k, v in stage_ns(c["deployment"], sigma, c["n"]).items()
    }
    np.savez_compressed(folder / "requests.npz", **traces)


def read_results(runs: Path) -> list[Result]:
    """The result of every run in a folder, by id."""
    return [load_result(json.loads(path.read_text())) for path in sorted(runs.glob("*/result.json"))]


@pytest.fixture(scope="session")
def _written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of `runs`, written once."""
    folder = tmp_path_factory.mktemp("runs")
    for run_id, sigma in (("aaaaaaaaaaaa", 0.0), ("bbbbbbbbbbbb", 0.5), ("cccccccccccc", 2.0)):
        write_run(folder, result(run_id, sigma))
    return folder


@pytest.fixture
def runs(_written: Path, tmp_path: Path) -> Path:
    """Three finished runs of one split: no defense and two strengths of noise; the test may change them."""
    shutil.copytree(_written, tmp_path, dirs_exist_ok=True)
    return tmp_path
