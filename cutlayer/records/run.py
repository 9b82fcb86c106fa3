"""What a `result.json` says, as frozen data. The report knows nothing else: it never computes a result anew."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cutlayer.trace import STAGES

SCHEMA = 1
PERCENTILES = ("p50", "p90", "p95", "p99")


@dataclass(frozen=True)
class Estimate:
    """A measured value, the number of samples behind it and its 95 % interval; NaN where the record has none."""

    value: float
    n: int
    low: float
    high: float


Percentiles = dict[str, int | None]
"""``p50``, ``p90``, ``p95``, ``p99`` in ns; None where too few samples stand behind one."""


@dataclass(frozen=True)
class AttackRecord:
    """What one attack achieved on one deployment."""

    attack: str
    label: str
    access: str
    deployment: str
    n: int
    n_releases: int
    fit_s: float
    invert_s: float
    leakage_gain: Estimate
    metrics: dict[str, Estimate]
    published: dict[str, float]
    source: str


@dataclass(frozen=True)
class WorstCase:
    """The attack that leaks most, over all attacks and deployments. `label` is that of its `AttackRecord`."""

    label: str
    deployment: str
    leakage_gain: Estimate
    metrics: dict[str, Estimate]


@dataclass(frozen=True)
class Passed:
    """What a head passes on: directions, how much fainter the faintest is than the strongest, and the strongest."""

    passed: float
    condition: float
    largest: float


@dataclass(frozen=True)
class Spectrum:
    """Singular values of the head's Jacobian, over so many directions that hold this share of the images' variance."""

    n: int
    directions: int
    variance: float
    head: Passed
    undefended: Passed


@dataclass(frozen=True)
class CostRecord:
    """What one deployment costs for each request."""

    deployment: str
    transport: str
    head: str
    n: int
    stages: dict[str, Percentiles]
    end_to_end: Percentiles
    first_request_ns: int | None
    tensor_bytes: int | None
    message_bytes: int | None
    kernel_bytes: int | None
    edge_peak_rss_bytes: int | None
    energy_j: float | None
    energy_source: str


@dataclass(frozen=True)
class Result:
    """`result.json` of one run: one model, one cut, one defense."""

    id: str
    name: str
    claim: str
    data: str
    classes: tuple[str, ...]
    model: str
    cut: str
    seed: int
    input: tuple[int, ...]
    smashed: tuple[int, ...]
    defense: dict[str, Any]
    defense_label: str
    facts: dict[str, float | str]
    accuracy: Estimate
    baseline: Estimate
    candidates: int | None
    privacy: tuple[AttackRecord, ...]
    worst_case: WorstCase | None
    spectrum: Spectrum | None
    cost: tuple[CostRecord, ...]
    flags: tuple[tuple[str, str], ...]
    seconds: dict[str, float]

    @property
    def undefended(self) -> bool:
        """Whether this is the baseline."""
        return self.defense.get("name") == "none"


def parse(result: Mapping[str, Any]) -> Result:
    """The content of a `result.json`.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: It is not of this schema.
    """
    if result["schema"] != SCHEMA:
        raise ValueError(f"schema {result['schema']!r} where this version of cutlayer reads {SCHEMA}")
    worst = result.get("worst_case")
    return Result(
        **{key: str(result[key]) for key in ("id", "name", "data", "model", "cut", "defense_label")},
        claim=str(result.get("claim") or ""),
        classes=tuple(map(str, result["classes"])),
        seed=int(result["seed"]),
        input=tuple(map(int, result["input"])),
        smashed=tuple(map(int, result["smashed"])),
        defense=dict(result["defense"]),
        facts=dict(result.get("defense_facts", {})),
        accuracy=_estimate(result["utility"]["accuracy"]),
        baseline=_estimate(result["utility"]["baseline"]),
        candidates=_optional_int(result.get("candidates")),
        privacy=tuple(map(_attack, result["privacy"])),
        worst_case=_worst(worst) if worst else None,
        spectrum=_spectrum(result["spectrum"]) if result.get("spectrum") else None,
        cost=tuple(map(_cost, result["cost"])),
        flags=tuple((str(flag["flag"]), str(flag["text"])) for flag in result["flags"]),
        seconds={str(key): float(value) for key, value in result.get("seconds", {}).items()},
    )


def _estimate(record: Mapping[str, Any]) -> Estimate:
    return Estimate(_float(record["value"]), int(record["n"]), _float(record.get("low")), _float(record.get("high")))


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)


def _optional_int(value: Any) -> int | None:
    return None if value is None else int(value)


def _attack(record: Mapping[str, Any]) -> AttackRecord:
    published = dict(record.get("published") or {})
    return AttackRecord(
        attack=str(record["attack"]),
        label=str(record["label"]),
        access=str(record["access"]),
        deployment=str(record["deployment"]),
        n=int(record["n"]),
        n_releases=int(record["n_releases"]),
        fit_s=_float(record.get("fit_s")),
        invert_s=_float(record.get("invert_s")),
        leakage_gain=_estimate(record["leakage_gain"]),
        metrics={str(name): _estimate(value) for name, value in record["metrics"].items()},
        source=str(published.pop("source", "")),
        published={str(name): float(value) for name, value in published.items()},
    )


def _worst(record: Mapping[str, Any]) -> WorstCase:
    metrics = {str(k): _estimate(v) for k, v in record.items() if isinstance(v, Mapping) and k != "leakage_gain"}
    label = str(record["label"])
    return WorstCase(label, str(record["deployment"]), _estimate(record["leakage_gain"]), metrics)


def _spectrum(record: Mapping[str, Any]) -> Spectrum:
    head, undefended = (
        Passed(**{str(name): _float(value) for name, value in record[part].items()}) for part in ("head", "undefended")
    )
    return Spectrum(int(record["n"]), int(record["directions"]), float(record["variance"]), head, undefended)


def _cost(record: Mapping[str, Any]) -> CostRecord:
    energy = record.get("energy_j")
    return CostRecord(
        deployment=str(record["deployment"]),
        transport=str(record["transport"]),
        head=str(record["head"]),
        n=int(record["n"]),
        stages={stage: _percentiles(record["stages"].get(stage, {})) for stage in STAGES},
        end_to_end=_percentiles(record["end_to_end"]),
        first_request_ns=_optional_int(record.get("first_request_ns")),
        tensor_bytes=_optional_int(record.get("tensor_bytes")),
        message_bytes=_optional_int(record.get("message_bytes")),
        kernel_bytes=_optional_int(record.get("kernel_bytes")),
        edge_peak_rss_bytes=_optional_int(record.get("edge_peak_rss_bytes")),
        energy_j=None if energy is None else float(energy),
        energy_source=str(record.get("energy_source", "none")),
    )


def _percentiles(record: Mapping[str, Any]) -> Percentiles:
    return {p: _optional_int(record.get(p)) for p in PERCENTILES}
