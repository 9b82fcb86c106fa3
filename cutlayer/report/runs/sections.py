"""The parts of the page below its opening, one function each."""

from __future__ import annotations

from collections.abc import Sequence

from cutlayer.percentiles import LEAST_SAMPLES
from cutlayer.records.reading import Run, Skipped
from cutlayer.report.kit.markup import Html, dot, el, note, row, section, small, table
from cutlayer.report.kit.pictures import picture_row, strip
from cutlayer.report.kit.svg import stage_bar
from cutlayer.report.kit.wording import ACCESS, LEAKAGE_GAIN, STAGE_WORDS, access_name, duration, scale, seconds, size
from cutlayer.report.runs import tables
from cutlayer.report.runs.charts import Point, scatter, typical_request
from cutlayer.report.runs.groups import Group, Member
from cutlayer.report.runs.story import NO_PICTURE, class_names, originals, rebuilt_by, shown

GRID = 8  # pictures in a row of the grid


def headline(group: Group) -> Html:
    """The main table."""
    n = group.first.result.utility.accuracy.n
    claims = dict.fromkeys(m.run.result.claim for m in group.members if m.run.result.claim)
    return section(
        "The result in one table",
        [el("p", claim, class_="claim") for claim in claims],
        tables.headline(group),
        note(
            f"Accuracy on {n:,} test images. The worst attack is the one with the highest leakage gain of all that "
            "were run. Small figures are 95 % intervals. 0 % leakage is what an attacker reaches who always guesses "
            "the average picture; 100 % is the exact picture."
        ),
    )


def reconstructions(group: Group) -> Html:
    """Originals beside what each attack made of them, for each defense."""
    return section(
        "Every attack, in pictures",
        note(
            "The percentage beside an attack is its leakage gain, on the deployment that was measured first. "
            "The pictures are the private ones with most contrast; the figures are over all."
        ),
        el("div", [_block(member) for member in group.members], class_="blocks"),
    )


def privacy_accuracy(group: Group) -> Html | None:
    """The scatter; one defense alone has nothing to be compared with."""
    points = [
        Point(m.label, m.color, worst.leakage_gain, m.run.result.utility.accuracy, m.run.result.undefended)
        for m in group.members
        if (worst := m.run.result.worst_case)
    ]
    if len(points) < 2:
        return None
    text = "Up and to the left is better: accurate, and little leaks. Lines through the points are 95 % intervals."
    return section("Privacy against accuracy", note(text), scatter(points, group.first.result.utility.baseline))


def latency(group: Group) -> Html:
    """Stacked bars for each deployment, and the percentiles."""
    bars = [(cost, m, typical_request(m.run.traces, cost.deployment)) for cost, m in tables.deployments(group)]
    longest = max((sum(stages.values()) for *_, stages in bars if stages), default=0.0) or 1.0
    rows = []
    for cost, member, stages in bars:
        title = el("span", el("b", cost.deployment), " ", member.label)
        p50 = el("span", f"p50 {duration(cost.end_to_end.get('p50'))}")
        bar = el("p", "No raw samples of this deployment.", class_="empty")
        if stages:
            bar = stage_bar(stages, longest, f"{cost.deployment}, {member.label}")
        rows.append(el("div", el("div", title, p50, class_="bar-title"), bar))
    legend = [
        el("li", el("span", class_=f"swatch s-{stage}"), el("b", stage), f" {meaning}")
        for stage, meaning in STAGE_WORDS.items()
    ]
    return section(
        "Where the time goes",
        note(
            "Each bar is one typical request: the mean over the tenth of the requests around the median one, so that "
            "the stages add up. Blue is the device, yellow the network, red the server, grey what no stage claims."
        ),
        el("div", rows, class_="bars"),
        el("ul", legend, class_="legend"),
        tables.percentiles(group),
        tables.stage_percentiles(group),
        note(
            "A percentile is printed only with enough samples behind it "
            f"({', '.join(f'p{q} needs {n}' for q, n in LEAST_SAMPLES.items() if n > 1)}); otherwise a dash."
        ),
    )


def attacks(group: Group) -> Html:
    """Every number of every attack, and the meaning of the columns."""
    scales = [LEAKAGE_GAIN, *map(scale, group.metrics)]
    metrics = [(metric.title, metric.explanation) for metric in scales if metric.explanation]
    meanings = {"The metrics": metrics, "The attacker's access": [(name, f"{text}.") for name, text in ACCESS.values()]}
    lists = [
        el("div", el("h3", title), el("dl", [[el("dt", name), el("dd", text)] for name, text in items]))
        for title, items in meanings.items()
    ]
    return section("Every attack, in numbers", tables.attacks(group), el("div", lists, class_="columns"))


def flags(group: Group) -> Html:
    """Every red flag, with the run that raised it."""
    items = [
        el("li", el("b", flag.flag), el("span", dot(m.color), m.label, class_="where"), el("p", flag.text))
        for m in group.members
        for flag in m.run.result.flags
    ]
    return red_flags(group, el("ul", items, class_="flags") if items else None)


def red_flags(group: Group, raised: object) -> Html:
    """The part of the page about red flags."""
    text = "A red flag says that the evaluation itself is suspect, so that its figures may flatter or wrong a defense."
    return section("Red flags", note(text), raised or el("p", "None was raised."), id=f"{group.anchor}-flags")


def environment(runs: Sequence[Run], skipped: Sequence[Skipped]) -> Html:
    """The machine, the runs on the page, and the folders that were passed over."""
    keys = list(dict.fromkeys(key for run in runs for key in run.env if key != "started"))
    rows = [row(key.removesuffix("_bytes"), [el("td", _values(runs, key))]) for key in keys]
    head = ["Run", "Experiment", "Split", "Defense", "Seed", "Started", "Train", "Measure", "Attack"]
    described = [row(run.result.id, _described(run)) for run in runs]
    missing = [el("li", el("b", run.result.id), f" {reason}") for run in runs for reason in run.notes]
    missing += [el("li", el("b", item.name), f" {item.reason}") for item in skipped]
    return section(
        "How it was measured",
        table("The machine and the software", ["Item", "Value"], [el("tbody", rows)], "environment") if rows else None,
        table("The runs on this page", head, [el("tbody", described)]),
        el("p", "Repeat a run with ", el("code", "cutlayer run runs/ID/experiment.toml"), "."),
        [el("h3", "Skipped or incomplete"), el("ul", missing)] if missing else None,
    )


def _block(member: Member) -> Html:
    """One defense: the originals, then one row for each attack on the first deployment."""
    run = member.run
    heading = el("h3", dot(member.color), member.label)
    indices = shown(run, GRID)
    if not indices:
        return el("div", heading, NO_PICTURE, class_="block")
    names = class_names(run, indices)
    rows = [picture_row("original", "", strip(originals(run), indices, f"Originals: {names}"))]
    seen: set[str] = set()
    for attack in run.result.privacy:
        if attack.label in seen or (rebuilt := rebuilt_by(run, attack.label, attack.deployment)) is None:
            continue
        seen.add(attack.label)
        alt = f"{attack.label} with {member.label}: reconstructions of {names}"
        about = f"{access_name(attack.access)}, {LEAKAGE_GAIN.value(attack.leakage_gain.value)}"
        rows.append(picture_row(attack.label, about, strip(rebuilt, indices, alt)))
    return el("div", heading, rows, class_="block")


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
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _described(run: Run) -> list[str]:
    result = run.result
    times = [seconds(result.seconds.get(key, float("nan"))) for key in ("train", "measure", "attack")]
    split = f"{result.data}, {result.model}, {result.cut}"
    return [result.name, split, result.defense_label, str(result.seed), str(run.env.get("started", "unknown")), *times]
