"""From what was observed and scored to the record that the report reads."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from cutlayer.data.splits import Splits
from cutlayer.experiment.flags import flags
from cutlayer.experiment.measure import Observed
from cutlayer.experiment.spec import Experiment
from cutlayer.metrics.interval import proportion
from cutlayer.models.manifest import Manifest
from cutlayer.privacy.score import CANDIDATES
from cutlayer.trace import LEAST_SAMPLES, STAGES, percentile
from defenses.base import Defense
from edge.requests import UNKNOWN

Result = dict[str, Any]
SCHEMA = 1


def result(
    experiment: Experiment,
    manifest: Manifest,
    data: Splits,
    defense: Defense,
    spectrum: dict[str, Any],
    facts: dict[str, float | str],
    baseline: tuple[int, int],
    observed: Sequence[Observed],
    rows: Sequence[dict[str, Any]],
    seconds: dict[str, float],
) -> Result:
    """The whole of `result.json`.

    Args:
        experiment: What was asked for.
        manifest: Of the split folder that was served.
        data: What it was measured on.
        defense: As deployed.
        spectrum: Of the head's Jacobian.
        facts: What the defense states of itself.
        baseline: Right answers of the undefended model on the test images, and how many those are.
        observed: What each deployment gave.
        rows: What each attack reached at each deployment.
        seconds: What the parts of the run took.
    """
    return {
        "schema": SCHEMA,
        "id": experiment.id,
        **{key: getattr(experiment, key) for key in ("name", "claim", "data", "model", "cut", "seed")},
        "classes": list(data.classes),
        "input": list(manifest.input.shape),
        "smashed": list(manifest.smashed.shape),
        "candidates": min(CANDIDATES, len(data.private)),
        "defense": manifest.defense,
        "defense_label": experiment.defense.label,
        "defense_facts": facts,
        "utility": {"accuracy": asdict(proportion(*observed[0].correct)), "baseline": asdict(proportion(*baseline))},
        "privacy": [_with_published(row, experiment) for row in rows],
        "worst_case": worst_case(rows),
        "spectrum": spectrum,
        "cost": [cost(one) for one in observed],
        "flags": flags(experiment, rows, data, defense, spectrum),
        "seconds": seconds,
    }


def worst_case(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row that leaks most, by leakage gain: the headline."""
    worst = max(rows, key=lambda row: float(row["leakage_gain"]["value"]))
    kept = {key: worst[key] for key in ("attack", "label", "deployment", "access", "n_releases", "leakage_gain")}
    return kept | {name: worst["metrics"][name] for name in ("mse", "psnr", "ssim", "identification")}


def cost(observed: Observed) -> dict[str, Any]:
    """Percentiles of every stage, bytes and memory of one deployment; None where too few samples stand behind."""
    timed, record = observed.timed, observed.record

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
        "kernel_bytes": None if int(record["kernel_bytes"]) == UNKNOWN else int(record["kernel_bytes"]),
        "edge_peak_rss_bytes": int(record["peak_rss_bytes"]),
        "energy_j": None,
        "energy_source": "none",
    }


def summary(record: Result) -> str:
    """One line of progress."""
    accuracy, worst = record["utility"]["accuracy"]["value"], record["worst_case"]
    return f"accuracy {accuracy:.1%}; leaks most to {worst['label']}, gain {worst['leakage_gain']['value']:.2f}"


def _with_published(row: dict[str, Any], experiment: Experiment) -> dict[str, Any]:
    """The row with the value from the literature for this attack and cut, where the plan states one."""
    for one in experiment.published:
        if one.cut == experiment.cut and one.attack == row["label"]:
            values = {key: value for key, value in asdict(one).items() if key in row["metrics"] and value is not None}
            return row | {"published": {**values, "source": one.source}}
    return row
