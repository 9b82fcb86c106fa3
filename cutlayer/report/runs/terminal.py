"""The terminal's summary at the end of a run: plain text, at most 120 columns."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from cutlayer.records.reading import Run
from cutlayer.records.run import Estimate, Result
from cutlayer.report.kit.columns import WIDTH, columns, wrap
from cutlayer.report.kit.wording import (
    ACCURACY,
    DASH,
    LEAKAGE_GAIN,
    access_name,
    duration,
    points,
    scale,
    size,
)
from cutlayer.report.runs.groups import Group, group
from cutlayer.report.runs.sweep import is_sweep, settings
from cutlayer.report.runs.tables import WORST_METRICS

_table = partial(columns, width=WIDTH, rule=True)
STAGES = ("head", "protect", "network", "tail")


def text(results: Iterable[Result]) -> str:
    """The headline, leakage by attack, time and red flags of the results."""
    return "\n\n".join(map(_group, group([Run(result) for result in results]))) + "\n"


def _group(group: Group) -> str:
    if is_sweep(group):
        return "\n\n".join([_title(group), _sweep(group)])
    parts = [_title(group), _headline(group), *_attacks(group), _time(group), _published(group), _flags(group)]
    return "\n\n".join(part for part in parts if part)


def _title(group: Group) -> str:
    title = f"{group.title}: {group.smashed_size:,} numbers leave the device for each picture"
    return wrap(title) + "\n" + "=" * min(WIDTH, len(title))


def _headline(group: Group) -> str:
    head = ["DEFENSE", "ACCURACY", "CHANGE", "WORST ATTACK", "LEAKAGE", "PSNR", "SSIM", "IDENTIFIED", "P50", "SENT"]
    rows = []
    for m in group.members:
        r = m.run.result
        cells = [
            m.label,
            ACCURACY.value(r.utility.accuracy.value),
            "" if r.undefended else points(r.change),
        ]
        if r.worst_case:
            cells += [r.worst_case.label, LEAKAGE_GAIN.value(r.worst_case.leakage_gain.value)]
            cells += [_metric(metric, r.worst_case.metrics.get(metric)) for metric in WORST_METRICS]
        else:
            cells += [DASH] * (2 + len(WORST_METRICS))
        cost = r.cost[0] if r.cost else None
        cells += [duration(cost.end_to_end.get("p50") if cost else None), size(cost.sent_bytes if cost else None)]
        rows.append(cells)
    tested = group.first.result.utility.accuracy.n
    legend = (
        f"Accuracy on {tested:,} test images. Leakage: 0 % is an attacker who guesses the average picture, "
        "100 % the exact picture. Identified: how often the reconstruction points to the true picture among all "
        "candidates."
    )
    return _table(head, rows, left=(0, 3)) + "\n" + wrap(legend)


def _sweep(group: Group) -> str:
    """One line for each defense and strength, the mean over its seeds."""
    head = ["DEFENSE", "SEEDS", "ACCURACY", "CHANGE", "WORST ATTACK", "LEAKAGE", "SSIM", "P50", "RELEASED", "FLAGS"]
    rows = []
    for one in settings(group):
        cells = [one.label, str(len(one.members)), ACCURACY.value(one.accuracy.value)]
        cells += ["" if one.undefended else points(one.change), one.attack, LEAKAGE_GAIN.value(one.leakage.value)]
        cells += [scale("ssim").number(one.metric("ssim").value), duration(one.p50_ns), size(one.tensor_bytes)]
        rows.append([*cells, str(sum(len(m.run.result.flags) for m in one.members))])
    note = "Mean over the seeds. Leakage: that of the worst attack; 0 % is the average picture, 100 % the exact one."
    return _table(head, rows, left=(0, 4)) + "\n" + wrap(note)


def _metric(name: str, estimate: Estimate | None) -> str:
    return DASH if estimate is None else scale(name).value(estimate.value)


def _attacks(group: Group) -> list[str]:
    """Leakage gain of each attack under each defense, on the first deployment; three defenses in one table."""
    attacks = {a.label: a for m in group.members for a in m.run.result.privacy}
    tables = []
    for start in range(0, len(group.members) if attacks else 0, 3):
        members = group.members[start : start + 3]
        rows = []
        for label, attack in attacks.items():
            gains = [
                next((a.leakage_gain.value for a in m.run.result.privacy if a.label == label), None) for m in members
            ]
            rows.append(
                [label, access_name(attack.access), *(DASH if g is None else LEAKAGE_GAIN.value(g) for g in gains)]
            )
        tables.append(_table(["LEAKAGE BY ATTACK", "ACCESS", *(m.label for m in members)], rows, left=(0, 1)))
    return tables


def _time(group: Group) -> str:
    head = ["TIME PER PICTURE", "DEFENSE", *map(str.upper, STAGES), "END TO END P50", "P95", "N"]
    rows = [
        [
            *(c.deployment, m.label),
            *(duration(times.get("p50")) for times in (*(c.stages.get(stage, {}) for stage in STAGES), c.end_to_end)),
            *(duration(c.end_to_end.get("p95")), f"{c.n:,}"),
        ]
        for m in group.members
        for c in m.run.result.cost
    ]
    return _table(head, rows, left=(0, 1)) if rows else ""


def _published(group: Group) -> str:
    rows = [
        [
            a.label,
            m.label,
            scale(name).heading,
            scale(name).number(a.metrics[name].value),
            scale(name).number(value),
            a.published.source,
        ]
        for m in group.members
        for a in m.run.result.privacy
        if a.published
        for name, value in a.published.values.items()
        if name in a.metrics
    ]
    return (
        _table(["BESIDE THE PAPER", "DEFENSE", "METRIC", "OURS", "PUBLISHED", "SOURCE"], rows, left=(0, 1, 2, 5))
        if rows
        else ""
    )


def _flags(group: Group) -> str:
    flags = [(m.label, flag) for m in group.members for flag in m.run.result.flags]
    lines = [wrap(f"! {flag.flag} ({label}): {flag.text}", indent="  ") for label, flag in flags]
    return "\n".join(["RED FLAGS: the evaluation itself is suspect", *lines]) if lines else "No red flags."
