"""The tables of the page: the headline, the percentiles, every attack."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cutlayer.records.run import AttackRecord, CostRecord, Estimate
from cutlayer.report.kit.markup import Html, el
from cutlayer.report.kit.wording import (
    ACCURACY,
    DASH,
    LEAKAGE_GAIN,
    Scale,
    access_name,
    duration,
    facts,
    in_order,
    points,
    scale,
    seconds,
    size,
)
from cutlayer.report.runs.groups import Group, Member
from cutlayer.trace import PERCENTILES, STAGES

WORST_METRICS = ("psnr", "ssim", "identification")


def table(caption: str, head: Sequence[object], body: Sequence[Html], class_: str = "") -> Html:
    """A table that scrolls sideways on its own when the screen is narrow."""
    headings = [h if isinstance(h, Html) else el("th", h, scope="col") for h in head]
    content = el("table", el("caption", caption), el("thead", el("tr", headings)), body, class_=class_ or None)
    return el("div", content, class_="wide", role="region", aria_label=caption, tabindex=0)


def headline(group: Group) -> Html:
    """One row for each defense: what it keeps, what still leaks, what it costs."""
    head = ["Defense", _heading(ACCURACY, "95 % interval"), _drop_heading(), "Worst attack", _heading(LEAKAGE_GAIN)]
    head += [_heading(scale(metric)) for metric in WORST_METRICS]
    head += [
        el("th", "End to end", _small("p50"), scope="col"),
        el("th", "Sent", _small("per picture"), scope="col"),
        "Flags",
    ]
    rows = [_headline_row(group, member) for member in group.members]
    return table("What each defense keeps, leaks and costs", head, [el("tbody", rows)], "headline")


def percentiles(group: Group) -> Html:
    """End-to-end percentiles and sizes, one row for each deployment of each defense."""
    measured = any(cost.energy_j is not None for cost, _ in deployments(group))
    head = [
        "Deployment",
        "Defense",
        "n",
        *PERCENTILES,
        "First request",
        "Tensor",
        "Message",
        "On the socket",
        "Peak memory",
    ]
    rows = []
    for cost, member in deployments(group):
        cells = [
            f"{cost.n:,}",
            *(duration(cost.end_to_end.get(p)) for p in PERCENTILES),
            duration(cost.first_request_ns),
        ]
        cells += [size(n) for n in (cost.tensor_bytes, cost.message_bytes, cost.kernel_bytes, cost.edge_peak_rss_bytes)]
        cells += [_energy(cost)] if measured else []
        rows.append(el("tr", _row_heading(cost.deployment), _defense_cell(member), [el("td", c) for c in cells]))
    head += ["Energy"] if measured else []
    return table("End-to-end time and size of one request", head, [el("tbody", rows)], "numbers")


def stage_percentiles(group: Group) -> Html:
    """Every percentile of every stage, folded away."""
    head = ["Stage", "n", *PERCENTILES]
    bodies = []
    for cost, member in deployments(group):
        rows = [_band(f"{cost.deployment}, {member.label}", len(head))]
        for stage in STAGES:
            cells = [cost.n, *(duration(cost.stages.get(stage, {}).get(p)) for p in PERCENTILES)]
            rows.append(el("tr", _row_heading(stage), [el("td", c) for c in cells]))
        bodies.append(el("tbody", rows))
    title = "Percentiles of every stage"
    return el("details", el("summary", title), table(title, head, bodies, "numbers"))


def attacks(group: Group) -> Html:
    """Every attack on every deployment, with every metric and its interval."""
    metrics = in_order({name for m in group.members for attack in m.run.result.privacy for name in attack.metrics})
    head = ["Attack", "Access", "n", _heading(LEAKAGE_GAIN), *(_heading(scale(metric)) for metric in metrics)]
    head += [el("th", "Time", _small("to fit and to invert"), scope="col")]
    head += ["Published in"] if group.reproduction else []
    bodies = []
    for member in group.members:
        rows = [_attack_row(attack, member, metrics, group.reproduction) for attack in member.run.result.privacy]
        bodies.append(el("tbody", _band(member.label, len(head), member.color), rows))
    return table("Every attack", head, bodies, "attacks")


def _attack_row(attack: AttackRecord, member: Member, metrics: Sequence[str], reproduction: bool) -> Html:
    worst = member.run.result.worst_case
    is_worst = worst is not None and attack.deployment == worst.deployment and attack.label == worst.label
    releases = f"{attack.n_releases} releases" if attack.n_releases > 1 else None
    cells = [
        el("td", access_name(attack.access), _small(f"on {attack.deployment}")),
        el("td", attack.n, _small(releases)),
    ]
    cells += [_measured(LEAKAGE_GAIN, attack.leakage_gain), *(_attack_metric(attack, metric) for metric in metrics)]
    cells += [el("td", seconds(attack.fit_s), _small(seconds(attack.invert_s)))]
    cells += [el("td", attack.published.source if attack.published else DASH, class_="source")] if reproduction else []
    return el("tr", el("th", attack.label, _badge() if is_worst else None, scope="row"), cells)


def _headline_row(group: Group, member: Member) -> Html:
    result = member.run.result
    worst = result.worst_case
    drop = el("td", DASH if result.undefended else points(result.change))
    if worst:
        where = f"on {worst.deployment}" if len(result.cost) > 1 else None
        cells = [el("td", worst.label, _small(where)), _measured(LEAKAGE_GAIN, worst.leakage_gain)]
        cells += [_measured(scale(m), worst.metrics.get(m)) for m in WORST_METRICS]
    else:
        cells = [el("td", "none was run")] + [el("td", DASH)] * (1 + len(WORST_METRICS))
    times = _per_deployment({c.deployment: duration(c.end_to_end.get("p50")) for c in result.cost})
    sizes = _per_deployment({c.deployment: size(c.sent_bytes) for c in result.cost})
    count = len(result.flags)
    flags = (
        el("a", f"{count} flag{'s' if count > 1 else ''}", href=f"#{group.anchor}-flags", class_="flag")
        if count
        else "none"
    )
    cells += [el("td", times), el("td", sizes), el("td", flags)]
    heading = _defense_heading(member, facts(result.defense_facts))
    return el("tr", heading, _measured(ACCURACY, result.utility.accuracy), drop, cells)


def _per_deployment(texts: dict[str, str]) -> object:
    """One line for each deployment, or one alone where all say the same."""
    if len(set(texts.values())) <= 1:
        return next(iter(texts.values()), DASH)
    return [el("div", text, _small(deployment), class_="line") for deployment, text in texts.items()]


def _attack_metric(attack: AttackRecord, metric: str) -> Html:
    estimate = attack.metrics.get(metric)
    published = attack.published.values.get(metric) if attack.published else None
    if estimate is None:
        return el("td", DASH)
    beside = None
    if published is not None:
        words = scale(metric)
        difference = words.number(estimate.value - published)
        sign = "+" if estimate.value > published else ""
        texts = (f"published {words.number(published)}", f"ours {sign}{difference}")
        beside = el("div", [el("div", text) for text in texts], class_="published")
    return _measured(scale(metric), estimate, beside)


def _measured(words: Scale, estimate: Estimate | None, beside: Html | None = None) -> Html:
    """A value over its 95 % interval."""
    if estimate is None or math.isnan(estimate.value):
        return el("td", DASH)
    return el("td", words.number(estimate.value), _small(words.interval(estimate)), beside)


def _heading(words: Scale, note: str = "") -> Html:
    return el("th", words.heading, _small(note or words.direction), scope="col")


def _drop_heading() -> Html:
    return el("th", "Change", _small("points"), scope="col")


def _band(title: str, columns: int, color: str = "") -> Html:
    dot = el("span", class_=f"dot {color}") if color else None
    return el("tr", el("th", dot, title, scope="rowgroup", colspan=columns), class_="band")


def deployments(group: Group) -> list[tuple[CostRecord, Member]]:
    """Deployments in the order of the first run, and within each the defenses."""
    names = list(dict.fromkeys(c.deployment for m in group.members for c in m.run.result.cost))
    return [(c, m) for name in names for m in group.members for c in m.run.result.cost if c.deployment == name]


def _defense_heading(member: Member, stated: str) -> Html:
    return el("th", el("span", class_=f"dot {member.color}"), member.label, _small(stated), scope="row")


def _defense_cell(member: Member) -> Html:
    return el("td", el("span", class_=f"dot {member.color}"), member.label)


def _energy(cost: CostRecord) -> str:
    return DASH if cost.energy_j is None else f"{cost.energy_j:.3g} J ({cost.energy_source})"


def _row_heading(text: str) -> Html:
    return el("th", text, scope="row")


def _badge() -> Html:
    return el("span", "worst case", class_="badge")


def _small(text: str | None) -> Html | None:
    return el("small", text) if text else None
