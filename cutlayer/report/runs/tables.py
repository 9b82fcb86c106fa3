"""The tables of the page: the headline, the percentiles, every attack."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cutlayer.percentiles import PERCENTILES
from cutlayer.records.run import AttackRecord, CostRecord, Estimate, FailedAttack, WorstCase
from cutlayer.report.kit.markup import Html, dot, el, row, small, table
from cutlayer.report.kit.wording import (
    DASH,
    IDENTIFIED,
    LEAKAGE_GAIN,
    Scale,
    access_name,
    duration,
    facts,
    scale,
    seconds,
    size,
)
from cutlayer.report.runs import ceilings, identified, usefulness
from cutlayer.report.runs.groups import Group
from cutlayer.report.runs.settings import Member, Setting, spread
from cutlayer.trace import STAGES


def headline(group: Group) -> Html:
    """One row for each defense: what it keeps, what still leaks, what it costs."""
    useful = usefulness.of(group)
    head = ["Defense", _heading(useful.scale, "95 % interval"), _titled(*useful.beside), "Worst attack"]
    head.append(_heading(LEAKAGE_GAIN))
    head += [_titled("Ceiling, %", "identified / leakage gain")] if ceilings.any_known(group) else []
    head += [_heading(IDENTIFIED), *(_heading(scale(metric)) for metric in group.headline_metrics)]
    head += [_titled("End to end", "p50"), _titled("Sent", f"per {group.kind.one}"), "Flags"]
    rows = [_headline_row(group, setting) for setting in group.settings]
    return table("What each defense keeps, leaks and costs", head, [el("tbody", rows)], "headline")


def percentiles(group: Group) -> Html:
    """End-to-end percentiles and sizes, one row for each deployment of each run; no column that would be empty."""
    costs = deployments(group)
    measured = any(cost.energy_j is not None for cost, _ in costs)
    shown = [p for p in PERCENTILES if any(cost.end_to_end.get(p) is not None for cost, _ in costs)]
    head: list[object] = [
        "Deployment",
        "Defense",
        "n",
        *shown,
        "First request",
        "Tensor",
        "Message",
        "On the socket",
        "Peak memory",
    ]
    head += ["Energy"] if measured else []
    turns = any(cost.added_ns for cost, _ in costs)
    head += [_titled("Added", "in turns, p50")] if turns else []
    rows = []
    for cost, member in costs:
        cells = [el("td", dot(member.color), member.label), f"{cost.n:,}"]
        cells += [duration(cost.end_to_end.get(p)) for p in shown]
        cells.append(duration(cost.first_request_ns))
        cells += [size(n) for n in (cost.tensor_bytes, cost.message_bytes, cost.kernel_bytes, cost.edge_peak_rss_bytes)]
        if measured:
            cells.append(DASH if cost.energy_j is None else f"{cost.energy_j:.3g} J ({cost.energy_source})")
        if turns and (added := cost.added_ns):
            cells.append(el("td", duration(added.value), small(f"{duration(added.low)} to {duration(added.high)}")))
        elif turns:
            cells.append(DASH)
        rows.append(row(cost.deployment, cells))
    return table("End-to-end time and size of one request", head, [el("tbody", rows)], "numbers")


def stage_percentiles(group: Group) -> Html:
    """Every percentile of every stage, folded away."""
    costs = deployments(group)
    shown = [p for p in PERCENTILES if any(cost.end_to_end.get(p) is not None for cost, _ in costs)]
    head = ["Stage", "n", *shown]
    bodies = []
    for cost, member in costs:
        rows = [_band(len(head), f"{cost.deployment}, {member.label}")]
        for stage in STAGES:
            times = cost.stages.get(stage, {})
            rows.append(row(stage, [cost.n, *(duration(times.get(p)) for p in shown)]))
        bodies.append(el("tbody", rows))
    title = "Percentiles of every stage"
    return el("details", el("summary", title), table(title, head, bodies, "numbers"))


def attacks(group: Group) -> list[Html]:
    """Every attack on every deployment, with every metric and its interval: the mean over the seeds, then each seed."""
    settings = [(s.label, s.color, s.attacks, [*s.failed.values()], s.worst) for s in group.settings]
    content = [attack_table(settings, group.metrics, published=group.reproduction)]
    if len(group.members) > len(group.settings):
        results = [(m.label, m.color, m.run.result) for m in group.members]
        members = [(label, color, r.privacy, r.failed, r.worst_case) for label, color, r in results]
        content.append(
            el(
                "details",
                el("summary", "The same for each seed"),
                attack_table(members, group.metrics, published=group.reproduction),
            )
        )
    return content


def deployments(group: Group) -> list[tuple[CostRecord, Member]]:
    """Deployments in the order of the first run, and within each the runs."""
    return [
        (c, m) for name in group.deployments for m in group.members for c in m.run.result.cost if c.deployment == name
    ]


Block = tuple[str, str, Sequence[AttackRecord], Sequence[FailedAttack], WorstCase | None]
"""Label and color of a defense, its attacks, those that failed, and the worst of them."""


def attack_table(blocks: Sequence[Block], metrics: Sequence[str], *, published: bool = False) -> Html:
    """Every attack of each block, with every metric; `published` for the values of the literature beside them."""
    head = ["Attack", "Access", "n", _heading(LEAKAGE_GAIN), *(_heading(scale(metric)) for metric in metrics)]
    head.append(_titled("Time", "to fit and to invert"))
    head += ["Published in"] if published else []
    bodies = [
        el(
            "tbody",
            _band(len(head), dot(color), label),
            [_attack_row(attack, worst, metrics, published=published) for attack in attacks],
            [_failed_row(attack, len(head) - 2) for attack in failed],
        )
        for label, color, attacks, failed, worst in blocks
    ]
    return table("Every attack", head, bodies, "attacks")


def _attack_row(attack: AttackRecord, worst: WorstCase | None, metrics: Sequence[str], *, published: bool) -> Html:
    is_worst = worst and (attack.deployment, attack.label) == (worst.deployment, worst.label)
    badge = el("span", "worst case", class_="badge") if is_worst else None
    releases = f"{attack.n_releases} releases" if attack.n_releases > 1 else None
    cells: list[object] = [
        el("td", access_name(attack.access), small(f"on {attack.deployment}")),
        el("td", attack.n, small(releases)),
        _measured(LEAKAGE_GAIN, attack.leakage_gain),
        *(_attack_metric(attack, name) for name in metrics),
        el("td", seconds(attack.fit_s), small(seconds(attack.invert_s))),
    ]
    if published:
        cells.append(el("td", attack.published.source if attack.published else DASH, class_="source"))
    return row(el("th", attack.label, badge, scope="row"), cells)


def _failed_row(attack: FailedAttack, columns: int) -> Html:
    """The reason in place of the figures."""
    reason = el("td", f"failed: {attack.reason}", colspan=columns)
    return row(el("th", attack.label, scope="row"), [el("td", access_name(attack.access)), reason])


def _headline_row(group: Group, setting: Setting) -> Html:
    results = setting.results
    useful = usefulness.of(group)
    of_seeds = small(spread((result.utility.figure for result in results), useful.scale.number))
    value, *under = usefulness.beside(setting)
    cells = [_measured(useful.scale, setting.usefulness, of_seeds)]
    cells.append(_cell(", ".join(useful.beside), value, *map(small, filter(None, under))))
    worst = setting.worst
    where = small(f"on {worst.deployment}") if worst and len(group.deployments) > 1 else None
    cells.append(_cell("Worst attack", worst.label if worst else "none was run", where))
    gains = spread((r.worst_case.leakage_gain for r in results if r.worst_case), LEAKAGE_GAIN.number)
    cells.append(_measured(LEAKAGE_GAIN, setting.leakage, small(gains)))
    if ceilings.any_known(group):
        cells.append(_cell("Ceiling, %", ceilings.beside_worst(setting)))
    found = setting.identifier
    cells.append(
        _measured(
            IDENTIFIED,
            setting.identified,
            el("small", identified.how(found, group.kind), class_="wraps") if found else None,
        )
    )
    cells += [_measured(scale(metric), setting.metric(metric)) for metric in group.headline_metrics]
    times = {name: setting.time_ns(name) for name in setting.deployments}
    sizes = {name: setting.sent_bytes(name) for name in setting.deployments}
    cells.append(_cell("End to end, p50", _per_deployment({name: duration(time) for name, time in times.items()})))
    known = [count for count in sizes.values() if count]
    alike = bool(known) and len(known) == len(sizes) and max(known) - min(known) < max(known) / 100
    texts = {name: size(known[0] if alike else count) for name, count in sizes.items()}
    cells.append(_cell(f"Sent per {group.kind.one}", _per_deployment(texts)))
    count = f"{setting.n_flags} flag{'s'[: setting.n_flags > 1]}"
    link = el("a", count, href="#flags", class_="flag") if setting.n_flags else "none"
    cells.append(_cell("Flags", link))
    stated = small(facts(setting.first.defense_facts))
    link = el("a", setting.label, href=f"#{setting.anchor}")
    return row(el("th", dot(setting.color), link, stated, scope="row"), cells)


def _cell(label: str, *content: object) -> Html:
    """A cell with the title of its column, which a narrow screen shows beside it."""
    return el("td", el("div", content), data_label=label)


def _per_deployment(texts: dict[str, str]) -> object:
    """One line for each deployment, or one alone where all have the same text."""
    if len(set(texts.values())) <= 1:
        return next(iter(texts.values()), DASH)
    return [el("div", text, small(deployment), class_="line") for deployment, text in texts.items()]


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
    if estimate is None or (math.isnan(estimate.value) and not estimate.infinite):
        return _cell(metric.heading, DASH)
    infinite = f"and {estimate.infinite:,} infinite" if estimate.infinite else ""
    below = el("div", small(infinite)) if infinite else None
    return _cell(metric.heading, metric.number(estimate.value), small(metric.interval(estimate)), below, beside)


def _heading(metric: Scale, note: str = "") -> Html:
    return _titled(metric.heading, note or metric.direction)


def _titled(title: str, note: str) -> Html:
    return el("th", title, small(note), scope="col")


def _band(columns: int, *title: object) -> Html:
    return el("tr", el("th", title, scope="rowgroup", colspan=columns), class_="band")
