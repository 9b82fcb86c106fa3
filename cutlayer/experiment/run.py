"""One experiment from the first epoch to the last record. `run` reads top to bottom."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cutlayer.compute import tune_allocator
from cutlayer.data.load import load
from cutlayer.data.splits import Splits
from cutlayer.errors import ConfigError
from cutlayer.experiment import adversary, records, victim
from cutlayer.experiment.flags import flags
from cutlayer.experiment.measure import Observed, measure
from cutlayer.experiment.nouns import Experiment, Named
from cutlayer.metrics.interval import proportion
from cutlayer.models import folder as split_folder
from cutlayer.registry import ATTACKS, CODECS
from cutlayer.trace import LEAST_SAMPLES, STAGES, percentile
from edge.onnx_head import OnnxHead
from edge.pipeline import Pipeline

Say = Callable[[str], None]
Result = dict[str, Any]

SHOWN = 12
"""Private images whose reconstructions are kept as pictures."""


def run_all(
    experiments: Sequence[Experiment], runs: Path, *, resume: bool, data_root: Path | None, say: Say
) -> list[Result]:
    """Run each experiment that is not finished yet; return the records of all."""
    tune_allocator()
    loaded = {(e.data, e.seed): load(e.data, data_root, e.seed) for e in experiments}
    for one in experiments:
        check(one, loaded[one.data, one.seed])
    results = []
    for i, one in enumerate(experiments, 1):
        folder = runs / one.id
        say(f"[{i}/{len(experiments)}] {one}  ({folder})")
        if not resume:
            shutil.rmtree(folder, ignore_errors=True)
        if (folder / "result.json").exists():
            say("      finished before; --no-resume runs it again")
            results.append(records.read_json(folder / "result.json"))
            continue
        results.append(run(one, loaded[one.data, one.seed], runs, data_root, say))
    return results


def check(experiment: Experiment, data: Splits) -> None:
    """Find what cannot work before anything is trained or written.

    Raises:
        ConfigError: The data set has too few images.
        SplitError: The model has no such cut.
    """
    setup = experiment.measure
    for part, wanted in (("test", setup.count), ("private", setup.private)):
        present = len(getattr(data, part))
        if not 0 < wanted <= present:
            raise ConfigError(f"{data.name} has {present} {part} images, and {wanted} were asked for; change [measure].")
    victim.check_cut(experiment, data)


def run(experiment: Experiment, data: Splits, runs: Path, data_root: Path | None, say: Say) -> Result:
    """Train, harden, split, serve, measure, attack, record.

    Every stage leaves its product under `runs/<id>/`, complete or not at all; a later call takes up what is there.
    """
    say = _stamped(say)
    folder = runs / experiment.id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "experiment.toml").write_text(records.toml(experiment))
    threads = {"edge": experiment.measure.edge_threads, "cloud": experiment.measure.cloud_threads, "attacker": torch.get_num_threads()}
    environment = records.environment(threads)

    start = time.perf_counter()
    model = victim.trained(experiment, data, runs, say)
    baseline = victim.accuracy(model, data.test.take(experiment.measure.count))
    if not (folder / "split" / "split.json").exists():
        victim.export(experiment, model, data, folder / "split", say)
    manifest, split = split_folder.load(folder / "split")
    train_s = time.perf_counter() - start

    start = time.perf_counter()
    defense = victim.defense(experiment)
    attacks = [named for named in experiment.attacks if defense.random or _n_releases(named) == 1]
    n_releases = max(map(_n_releases, attacks))
    observed = []
    for deployment in experiment.deployments:
        say(f"serving over {deployment.transport} with a head on {deployment.head}")
        observed.append(measure(experiment, deployment, folder / "split", folder / "measured", n_releases, data_root))
    measure_s = time.perf_counter() - start

    start = time.perf_counter()
    head = OnnxHead(folder / "split" / "head.onnx", threads=threads["attacker"])
    rows = []
    for named in attacks:
        seeds = np.random.SeedSequence([experiment.seed, *named.label.encode()])
        query = adversary.oracle(Pipeline(head, defense, CODECS.make(experiment.measure.codec)), np.random.default_rng(seeds))
        rows += _attack(named, query, experiment, split, defense, data, observed, folder / "attacks", say)
    attack_s = time.perf_counter() - start

    correct = observed[0].correct
    result = {
        "schema": 1,
        "id": experiment.id,
        **{key: getattr(experiment, key) for key in ("name", "claim", "data", "model", "cut", "seed")},
        "classes": list(data.classes),
        "input": list(manifest.input.shape),
        "smashed": list(manifest.smashed.shape),
        "defense": manifest.defense,
        "defense_label": experiment.defense.label,
        "utility": {"accuracy": asdict(proportion(*correct)), "baseline": asdict(proportion(*baseline))},
        "privacy": [_with_published(row, experiment) for row in rows],
        "worst_case": adversary.worst_case(rows),
        "cost": [cost(one) for one in observed],
        "flags": flags(rows, data, experiment.measure.private, defense.random, experiment.defense.name == "none"),
        "seconds": {"train": train_s, "measure": measure_s, "attack": attack_s},
    }
    _save_pictures(folder, attacks, data, experiment)
    timed = {f"{one.deployment.label}/{k}": v for one in observed for k, v in one.timed.items()}
    records.write_arrays(folder / "requests.npz", timed)
    records.write_json(folder / "env.json", environment)
    records.index(runs, result)
    records.write_json(folder / "result.json", result)
    shutil.rmtree(folder / "measured")
    shutil.rmtree(folder / "attacks")
    worst = result["worst_case"]
    say(f"accuracy {correct[0] / correct[1]:.1%}, worst case {worst['label']}: leakage gain {worst['leakage_gain']['value']:.2f}")
    return result


def cost(observed: Observed) -> dict[str, Any]:
    """Percentiles of every stage, bytes and memory of one deployment; None where too few samples stand behind."""
    timed = observed.timed
    record = observed.record

    def percentiles(column: str) -> dict[str, int | None]:
        return {f"p{q}": percentile(timed[column], q) for q in LEAST_SAMPLES}

    return {
        "deployment": observed.deployment.label,
        **asdict(observed.deployment),
        "n": len(timed["end_to_end_ns"]),
        "stages": {stage: percentiles(f"{stage}_ns") for stage in STAGES},
        "end_to_end": percentiles("end_to_end_ns"),
        "first_request_ns": int(record["first_request_ns"]),
        "tensor_bytes": int(np.median(timed["tensor_bytes"])),
        "message_bytes": int(np.median(timed["message_bytes"])),
        "kernel_bytes": int(record["kernel_bytes"]),
        "edge_peak_rss_bytes": int(record["peak_rss_bytes"]),
        "energy_j": None,
        "energy_source": "none",
    }


def _attack(
    named: Named, query: adversary.Query, experiment: Experiment, split: victim.SplitModel, defense: victim.Defense,
    data: Splits, observed: Sequence[Observed], work: Path, say: Say,
) -> list[dict[str, Any]]:  # fmt: skip
    """Fit once, rebuild from the tap of each deployment, score; or take up what an interrupted run had finished."""
    path = work / f"{named.label}.json".replace("/", "_")
    if path.exists():
        return records.read_json(path)  # type: ignore[no-any-return]
    work.mkdir(exist_ok=True)
    say(f"attacking with {named.label}")
    access = ATTACKS.load(named.name).needs  # type: ignore[attr-defined]
    seen = adversary.view(access, split, query, defense, data, experiment.seed)
    attack, fit_s = adversary.fitted(named, seen)
    rows = []
    for one in observed:
        images, invert_s = adversary.rebuild(attack, one, seen.device)
        rows.append(adversary.row(named, attack, one, images, data, experiment.seed) | {"fit_s": fit_s, "invert_s": invert_s})
        if one is observed[0]:
            shown = (images[:SHOWN] * 255).round().to(torch.uint8).numpy()
            records.write_arrays(path.with_suffix(".npz"), {"images": shown})
    records.write_json(path, rows)
    return rows


def _n_releases(named: Named) -> int:
    return int(ATTACKS.make(named.name, **named.options).n_releases)


def _with_published(row: dict[str, Any], experiment: Experiment) -> dict[str, Any]:
    for one in experiment.published:
        if one.cut == experiment.cut and one.attack in (row["label"], row["attack"]):
            values = {k: v for k, v in asdict(one).items() if k in ("psnr", "ssim", "mse") and v is not None}
            return row | {"published": {**values, "source": one.source}}
    return row


def _save_pictures(folder: Path, attacks: Sequence[Named], data: Splits, experiment: Experiment) -> None:
    """Originals and the reconstructions from the first deployment, as bytes of pixels."""
    shown = data.private.take(min(SHOWN, experiment.measure.private))
    arrays = {"originals": (shown.images * 255).round().astype(np.uint8), "labels": shown.labels}
    for named in attacks:
        with np.load(folder / "attacks" / f"{named.label}.npz".replace("/", "_"), allow_pickle=False) as kept:
            arrays[named.label] = kept["images"]
    records.write_arrays(folder / "reconstructions.npz", arrays)


def _stamped(say: Say) -> Say:
    """Progress lines with the seconds since the experiment began."""
    begin = time.perf_counter()
    return lambda text: say(f"{time.perf_counter() - begin:6.1f} s  {text}")
