"""The terminal's summary at the end of a run: plain text, at most 120 columns."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial

from cutlayer.records.reading import Run
from cutlayer.records.run import Published, Result
from cutlayer.report.kit.columns import WIDTH, columns, wrap
from cutlayer.report.kit.wording import ACCURACY, DASH, LEAKAGE_GAIN, access_name, duration, points, scale, size
from cutlayer.report.runs.groups import Group, group
from cutlayer.report.runs.sweep import is_sweep, settings

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
    scales = {name: scale(name) for name in group.headline_metrics}
    head = ["DEFENSE", "ACCURACY", "CHANGE", "WORST ATTACK", "LEAKAGE"]
    head += [*(metric.title.upper() for metric in scales.values()), "P50", "SENT"]
    rows = []
    for member in group.members:
        result, worst = member.run.result, member.run.result.worst_case
        cells = [member.label, ACCURACY.value(result.utility.accuracy.value)]
        cells.append("" if result.undefended else points(result.change))
        if worst:
            scores = {name: worst.metrics.get(name) for name in scales}
            cells += [worst.label, LEAKAGE_GAIN.value(worst.leakage_gain.value)]
            cells += [scales[name].value(score.value) if score else DASH for name, score in scores.items()]
        else:
            cells += [DASH] * (2 + len(scales))
        cost = result.cost[0] if result.cost else None
        cells += [duration(cost.end_to_end.get("p50") if cost else None), size(cost.sent_bytes if cost else None)]
        rows.append(cells)
    legend = f"Accuracy on {group.first.result.utility.accuracy.n:,} test images. Leakage: "
    legend += "0 % is an attacker who guesses the average picture, 100 % the exact picture."
    legend += "".join(f" {metric.title}: {metric.explanation}" for metric in scales.values() if metric.explanation)
    return _table(head, rows, left=(0, 3)) + "\n" + wrap(legend)


def _sweep(group: Group) -> str:
    """One line for each defense and strength, the mean over its seeds."""
    head = ["DEFENSE", "SEEDS", "ACCURACY", "CHANGE", "WORST ATTACK", "LEAKAGE", "SSIM", "P50", "RELEASED", "FLAGS"]
    rows = []
    for s in settings(group):
        cells = [s.label, str(len(s.members)), ACCURACY.value(s.accuracy.value)]
        cells += ["" if s.undefended else points(s.change), s.attack, LEAKAGE_GAIN.value(s.leakage.value)]
        cells += [scale("ssim").number(s.metric("ssim").value), duration(s.p50_ns), size(s.tensor_bytes)]
        rows.append([*cells, str(sum(len(m.run.result.flags) for m in s.members))])
    note = "Mean over the seeds. Leakage: that of the worst attack; 0 % is the average picture, 100 % the exact one."
    return _table(head, rows, left=(0, 4)) + "\n" + wrap(note)


def _attacks(group: Group) -> list[str]:
    """Leakage gain of each attack under each defense, on the first deployment; three defenses in one table."""
    attacks = {a.label: access_name(a.access) for m in group.members for a in m.run.result.privacy}
    # Of equal labels the first deployment comes last, so that its value stays.
    gains = [{a.label: a.leakage_gain.value for a in reversed(m.run.result.privacy)} for m in group.members]
    tables = []
    for start in range(0, len(gains) if attacks else 0, 3):
        part = slice(start, start + 3)
        head = ["LEAKAGE BY ATTACK", "ACCESS", *(m.label for m in group.members[part])]
        rows = [
            [label, access, *(LEAKAGE_GAIN.value(by_attack.get(label, math.nan)) for by_attack in gains[part])]
            for label, access in attacks.items()
        ]
        tables.append(_table(head, rows, left=(0, 1)))
    return tables


def _time(group: Group) -> str:
    head = ["TIME PER PICTURE", "DEFENSE", *map(str.upper, STAGES), "END TO END P50", "P95", "N"]
    rows = []
    for member in group.members:
        for cost in member.run.result.cost:
            medians = [cost.stages.get(stage, {}).get("p50") for stage in STAGES]
            times = [*medians, cost.end_to_end.get("p50"), cost.end_to_end.get("p95")]
            rows.append([cost.deployment, member.label, *map(duration, times), f"{cost.n:,}"])
    return _table(head, rows, left=(0, 1)) if rows else ""


def _published(group: Group) -> str:
    head, rows = ["BESIDE THE PAPER", "DEFENSE", "METRIC", "OURS", "PUBLISHED", "SOURCE"], []
    for member, attack in ((m, a) for m in group.members for a in m.run.result.privacy):
        stated = attack.published or Published(values={}, source="")
        for name in filter(attack.metrics.__contains__, stated.values):
            metric = scale(name)
            numbers = metric.number(attack.metrics[name].value), metric.number(stated.values[name])
            rows.append([attack.label, member.label, metric.heading, *numbers, stated.source])
    return _table(head, rows, left=(0, 1, 2, 5)) if rows else ""


def _flags(group: Group) -> str:
    flags = [(m.label, flag) for m in group.members for flag in m.run.result.flags]
    lines = [wrap(f"! {flag.flag} ({label}): {flag.text}", indent="  ") for label, flag in flags]
    return "\n".join(["RED FLAGS: the evaluation itself is suspect", *lines]) if lines else "No red flags."
