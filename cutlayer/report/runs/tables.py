"""The tables of the page: the headline, the percentiles, every attack."""

from __future__ import annotations

import math

from cutlayer.percentiles import PERCENTILES
from cutlayer.records.run import AttackRecord, CostRecord, Estimate
from cutlayer.report.kit.markup import Html, dot, el, row, small, table
from cutlayer.report.kit.wording import (
    ACCURACY,
    DASH,
    LEAKAGE_GAIN,
    Scale,
    access_name,
    duration,
    facts,
    points,
    scale,
    seconds,
    size,
)
from cutlayer.report.runs.groups import Group, Member
from cutlayer.trace import STAGES


def headline(group: Group) -> Html:
    """One row for each defense: what it keeps, what still leaks, what it costs."""
    head = ["Defense", _heading(ACCURACY, "95 % interval"), _titled("Change", "points"), "Worst attack"]
    head += [_heading(LEAKAGE_GAIN), *(_heading(scale(metric)) for metric in group.headline_metrics)]
    head += [_titled("End to end", "p50"), _titled("Sent", "per picture"), "Flags"]
    rows = [_headline_row(group, member) for member in group.members]
    return table("What each defense keeps, leaks and costs", head, [el("tbody", rows)], "headline")


def percentiles(group: Group) -> Html:
    """End-to-end percentiles and sizes, one row for each deployment of each defense."""
    measured = any(cost.energy_j is not None for cost, _ in deployments(group))
    head = ["Deployment", "Defense", "n", *PERCENTILES, "First request", "Tensor", "Message", "On the socket"]
    head += ["Peak memory", "Energy"] if measured else ["Peak memory"]
    rows = []
    for cost, member in deployments(group):
        cells = [el("td", dot(member.color), member.label), f"{cost.n:,}"]
        cells += [duration(cost.end_to_end.get(p)) for p in PERCENTILES]
        cells.append(duration(cost.first_request_ns))
        cells += [size(n) for n in (cost.tensor_bytes, cost.message_bytes, cost.kernel_bytes, cost.edge_peak_rss_bytes)]
        if measured:
            cells.append(DASH if cost.energy_j is None else f"{cost.energy_j:.3g} J ({cost.energy_source})")
        rows.append(row(cost.deployment, cells))
    return table("End-to-end time and size of one request", head, [el("tbody", rows)], "numbers")


def stage_percentiles(group: Group) -> Html:
    """Every percentile of every stage, folded away."""
    head = ["Stage", "n", *PERCENTILES]
    bodies = []
    for cost, member in deployments(group):
        rows = [_band(len(head), f"{cost.deployment}, {member.label}")]
        for stage in STAGES:
            times = cost.stages.get(stage, {})
            rows.append(row(stage, [cost.n, *(duration(times.get(p)) for p in PERCENTILES)]))
        bodies.append(el("tbody", rows))
    title = "Percentiles of every stage"
    return el("details", el("summary", title), table(title, head, bodies, "numbers"))


def attacks(group: Group) -> Html:
    """Every attack on every deployment, with every metric and its interval."""
    head = ["Attack", "Access", "n", _heading(LEAKAGE_GAIN), *(_heading(scale(metric)) for metric in group.metrics)]
    head.append(_titled("Time", "to fit and to invert"))
    head += ["Published in"] if group.reproduction else []
    bodies = []
    for member in group.members:
        rows = [_attack_row(attack, member, group) for attack in member.run.result.privacy]
        bodies.append(el("tbody", _band(len(head), dot(member.color), member.label), rows))
    return table("Every attack", head, bodies, "attacks")


def deployments(group: Group) -> list[tuple[CostRecord, Member]]:
    """Deployments in the order of the first run, and within each the defenses."""
    names = list(dict.fromkeys(c.deployment for m in group.members for c in m.run.result.cost))
    return [(c, m) for name in names for m in group.members for c in m.run.result.cost if c.deployment == name]


def _attack_row(attack: AttackRecord, member: Member, group: Group) -> Html:
    worst = member.run.result.worst_case
    is_worst = worst and (attack.deployment, attack.label) == (worst.deployment, worst.label)
    badge = el("span", "worst case", class_="badge") if is_worst else None
    releases = f"{attack.n_releases} releases" if attack.n_releases > 1 else None
    cells: list[object] = [
        el("td", access_name(attack.access), small(f"on {attack.deployment}")),
        el("td", attack.n, small(releases)),
        _measured(LEAKAGE_GAIN, attack.leakage_gain),
        *(_attack_metric(attack, name) for name in group.metrics),
        el("td", seconds(attack.fit_s), small(seconds(attack.invert_s))),
    ]
    if group.reproduction:
        cells.append(el("td", attack.published.source if attack.published else DASH, class_="source"))
    return row(el("th", attack.label, badge, scope="row"), cells)


def _headline_row(group: Group, member: Member) -> Html:
    result = member.run.result
    worst, metrics = result.worst_case, group.headline_metrics
    change = DASH if result.undefended else points(result.change)
    cells: list[object] = [_measured(ACCURACY, result.utility.accuracy), change]
    if worst:
        where = f"on {worst.deployment}" if len(result.cost) > 1 else None
        cells += [el("td", worst.label, small(where)), _measured(LEAKAGE_GAIN, worst.leakage_gain)]
        cells += [_measured(scale(metric), worst.metrics.get(metric)) for metric in metrics]
    else:
        cells += ["none was run", *[DASH] * (1 + len(metrics))]
    times = {c.deployment: duration(c.end_to_end.get("p50")) for c in result.cost}
    cells += [_per_deployment(times), _per_deployment({c.deployment: size(c.sent_bytes) for c in result.cost})]
    count = f"{len(result.flags)} flag{'s'[: len(result.flags) > 1]}"
    cells.append(el("td", el("a", count, href=f"#{group.anchor}-flags", class_="flag")) if result.flags else "none")
    return row(el("th", dot(member.color), member.label, small(facts(result.defense_facts)), scope="row"), cells)


def _per_deployment(texts: dict[str, str]) -> Html:
    """One line for each deployment, or one alone where all have the same text."""
    if len(set(texts.values())) <= 1:
        return el("td", next(iter(texts.values()), DASH))
    return el("td", [el("div", text, small(deployment), class_="line") for deployment, text in texts.items()])


def _attack_metric(attack: AttackRecord, name: str) -> Html:
    estimate, metric = attack.metrics.get(name), scale(name)
    published = attack.published.values.get(name) if attack.published else None
    if estimate is None or published is None:
        return _measured(metric, estimate)
    sign = "+" if estimate.value > published else ""
    texts = (f"published {metric.number(published)}", f"ours {sign}{metric.number(estimate.value - published)}")
    return _measured(metric, estimate, el("div", [el("div", text) for text in texts], class_="published"))


def _measured(metric: Scale, estimate: Estimate | None, beside: Html | None = None) -> Html:
    """A value over its 95 % interval."""
    if estimate is None or math.isnan(estimate.value):
        return el("td", DASH)
    return el("td", metric.number(estimate.value), small(metric.interval(estimate)), beside)


def _heading(metric: Scale, note: str = "") -> Html:
    return _titled(metric.heading, note or metric.direction)


def _titled(title: str, note: str) -> Html:
    return el("th", title, small(note), scope="col")


def _band(columns: int, *title: object) -> Html:
    return el("tr", el("th", title, scope="rowgroup", colspan=columns), class_="band")
