"""The parts of the page below its opening, one function each."""

from __future__ import annotations

from collections.abc import Sequence

from cutlayer.records.reading import Run
from cutlayer.report.kit.markup import Html, el, note, row, section, small, table
from cutlayer.report.kit.wording import ACCESS, scale, seconds, size, where_attackers_sit
from cutlayer.report.runs import conditions, tables, usefulness
from cutlayer.report.runs.by_column import by_column
from cutlayer.report.runs.ceilings import ceilings
from cutlayer.report.runs.claims import claims as stated_claims
from cutlayer.report.runs.claims import verdict
from cutlayer.report.runs.groups import Group
from cutlayer.report.runs.identified import about, every_way, identified, ways_of
from cutlayer.report.runs.probes import found, probes
from cutlayer.report.runs.spectrum import spectrum


def headline(group: Group) -> Html:
    """The claim, the main table, and the machine with its load."""
    kind, seeds = group.kind, group.seeds
    over = "95 % intervals."
    if len(seeds) > 1:
        over = (
            "the ends of the 95 % intervals of all seeds. Each figure is the mean over the seeds "
            f"{', '.join(map(str, seeds))}; each change is that from the model of the same seed without a defense."
        )
    return section(
        "The result in one table",
        claims(group),
        tables.headline(group),
        note(
            f"{usefulness.explained(group)} The worst attack is the one with the highest leakage gain of all "
            f"that were run. Small figures are {over} 0 % leakage is what an attacker reaches who always guesses "
            f"{kind.guess}; 100 % is {kind.exact}. {about(group)} The runs were timed one after the other, so that a "
            "difference of two times may be that of the machine's other work."
        ),
        note(conditions.machine(group)),
    )


def attacks(group: Group) -> Html:
    """Every number of every attack, and the meaning of the columns."""
    scales = [group.kind.leakage, *map(scale, group.metrics)]
    metrics = [(metric.title, group.kind.told(metric.explanation)) for metric in scales if metric.explanation]
    access = [(name, f"{text.format(many=group.kind.many)}.") for name, text in ACCESS.values()]
    judges = dict.fromkeys(member.run.result.judge for member in group.members if member.run.result.judge)
    metrics += [("Evaluation classifier", judge) for judge in judges]
    meanings = {"The metrics": metrics, "The attacker's access": access}
    lists = [
        el("div", el("h3", title), el("dl", [[el("dt", name), el("dd", text)] for name, text in items]))
        for title, items in meanings.items()
    ]
    result = group.first.result
    sits = note(where_attackers_sit(result.vantage, result.access, result.servers, group.kind.one))
    return section("Every attack, in numbers", sits, tables.attacks(group), el("div", lists, class_="columns"))


def claims(group: Group) -> list[Html]:
    """What each plan claims, as a claim, and whether the table supports it."""
    parts: list[Html] = []
    for (claim, expected), judged in stated_claims(group).items():
        if claim:
            parts.append(el("p", el("b", "The plan claims: "), claim, class_="claim"))
        parts.append(el("p", verdict(judged), class_="note"))
        items = [
            el("li", el("b", found), f": {text} ({figures})")
            for text, (found, figures) in zip(expected, judged, strict=True)
        ]
        parts += [el("ul", items, class_="plain")] if items else []
    return parts


def details(group: Group) -> list[Html | None]:
    """Every number of every attack, and what was computed beside them; folded away where there are many settings."""
    if not group.is_sweep:
        return [attacks(group), by_column(group), identified(group), probes(group), ceilings(group), spectrum(group)]
    titled = [
        ("Every attack on every run", attacks(group)),
        ("Which columns are read under every defense", by_column(group)),
        ("Who is identified under every defense", every_way(ways_of(group.settings), group.kind)),
        ("What the probes found", probes(group) if found(group) else None),
        ("The ceiling of every defense", ceilings(group)),
        ("The spectrum of every head", spectrum(group)),
    ]
    folded = [el("details", el("summary", title), content) for title, content in titled if content]
    return [section("Every number", folded)]


def environment(runs: Sequence[Run]) -> Html:
    """The machine and the runs on the page."""
    keys = list(dict.fromkeys(key for run in runs for key in run.env if key != "started"))
    rows = [row(key.removesuffix("_bytes"), [el("td", _values(runs, key))]) for key in keys]
    head = ["Run", "Experiment", "Split", "Defense", "Seed", "Started", "Train", "Measure", "Attack"]
    described = [row(run.result.id, _described(run)) for run in runs]
    return section(
        "How it was measured",
        table("The machine and the software", ["Item", "Value"], [el("tbody", rows)], "environment") if rows else None,
        table("The runs on this page", head, [el("tbody", described)]),
        el("p", "Repeat a run with ", el("code", "cutlayer run runs/ID/experiment.toml"), "."),
    )


def _values(runs: Sequence[Run], key: str) -> list[Html]:
    """The value of one entry; where runs differ, each value with its runs."""
    by_value: dict[str, list[str]] = {}
    for run in runs:
        by_value.setdefault(_value(key, run.env.get(key, "unknown")), []).append(run.result.id)
    return [el("div", text, small(", ".join(ids) if len(by_value) > 1 else None)) for text, ids in by_value.items()]


def _value(key: str, value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value(name, entry)}" for name, entry in value.items())
    if key.endswith("_bytes") and isinstance(value, int):
        return size(value)
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _described(run: Run) -> list[str]:
    result = run.result
    times = [seconds(result.seconds.get(key, float("nan"))) for key in ("train", "measure", "attack")]
    split = f"{result.data}, {result.model}, {result.cut}"
    return [result.name, split, result.defense_label, str(result.seed), str(run.env.get("started", "unknown")), *times]
