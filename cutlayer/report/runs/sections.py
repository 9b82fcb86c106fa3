"""The parts of the page below its opening, one function each."""

from __future__ import annotations

from collections.abc import Sequence

from cutlayer.records.reading import Run, Skipped
from cutlayer.report.kit.markup import Html, el
from cutlayer.report.kit.pictures import strip
from cutlayer.report.kit.svg import stage_bar
from cutlayer.report.kit.wording import (
    ACCESS,
    LEAKAGE_GAIN,
    METRICS_EXPLAINED,
    STAGE_WORDS,
    access_name,
    duration,
    seconds,
    size,
)
from cutlayer.report.runs import tables
from cutlayer.report.runs.charts import Point, scatter, typical_request
from cutlayer.report.runs.groups import Group, Member
from cutlayer.report.runs.story import class_names, shown
from cutlayer.trace import LEAST_SAMPLES

GRID = 8  # pictures in a row of the grid


def headline(group: Group) -> Html:
    """The main table."""
    n = group.first.result.utility.accuracy.n
    claims = dict.fromkeys(m.run.result.claim for m in group.members if m.run.result.claim)
    return _section(
        "The result in one table",
        [el("p", claim, class_="claim") for claim in claims],
        tables.headline(group),
        _note(
            f"Accuracy on {n:,} test images. The worst attack is the one with the highest leakage gain of all that "
            "were run. Small figures are 95 % intervals. 0 % leakage is what an attacker reaches who always guesses "
            "the average picture; 100 % is the exact picture."
        ),
    )


def reconstructions(group: Group) -> Html:
    """Originals beside what each attack made of them, for each defense."""
    return _section(
        "Every attack, in pictures",
        _note(
            "The percentage beside an attack is its leakage gain, on the deployment that was measured first. "
            "The pictures are the private ones with most contrast; the figures are over all."
        ),
        el("div", [_block(member) for member in group.members], class_="blocks"),
    )


def privacy_accuracy(group: Group) -> Html | None:
    """The scatter; one defense alone has nothing to be compared with."""
    points = [
        Point(
            m.label,
            m.color,
            m.run.result.worst_case.leakage_gain,
            m.run.result.utility.accuracy,
            m.run.result.undefended,
        )
        for m in group.members
        if m.run.result.worst_case
    ]
    if len(points) < 2:
        return None
    text = "Up and to the left is better: accurate, and little leaks. Lines through the points are 95 % intervals."
    return _section("Privacy against accuracy", _note(text), scatter(points, group.first.result.utility.baseline))


def latency(group: Group) -> Html:
    """Stacked bars for each deployment, and the percentiles."""
    bars = [(cost, m, typical_request(m.run.traces, cost.deployment)) for cost, m in tables.deployments(group)]
    longest = max((sum(stages.values()) for *_, stages in bars if stages), default=0.0) or 1.0
    rows = []
    for cost, member, stages in bars:
        name = f"{cost.deployment}, {member.label}"
        bar = (
            stage_bar(stages, longest, name)
            if stages
            else el("p", "No raw samples of this deployment.", class_="empty")
        )
        title = [
            el("span", el("b", cost.deployment), " ", member.label),
            el("span", f"p50 {duration(cost.end_to_end.get('p50'))}"),
        ]
        rows.append(el("div", el("div", title, class_="bar-title"), bar))
    legend = [
        el("li", el("span", class_=f"swatch s-{stage}"), el("b", stage), f" {words}")
        for stage, words in STAGE_WORDS.items()
    ]
    return _section(
        "Where the time goes",
        _note(
            "Each bar is one typical request: the mean over the tenth of the requests around the median one, so that "
            "the stages add up. Blue is the device, yellow the network, red the server, grey what no stage claims."
        ),
        el("div", rows, class_="bars"),
        el("ul", legend, class_="legend"),
        tables.percentiles(group),
        tables.stage_percentiles(group),
        _note(
            "A percentile is printed only with enough samples behind it "
            f"({', '.join(f'p{q} needs {n}' for q, n in LEAST_SAMPLES.items() if n > 1)}); otherwise a dash."
        ),
    )


def attacks(group: Group) -> Html:
    """Every number of every attack, and what the columns mean."""
    accesses = [(name, f"{text}.") for name, text in ACCESS.values()]
    return _section(
        "Every attack, in numbers",
        tables.attacks(group),
        el(
            "div",
            _definitions("The metrics", METRICS_EXPLAINED),
            _definitions("The attacker's access", accesses),
            class_="columns",
        ),
    )


def flags(group: Group) -> Html:
    """What is suspect about the evaluation itself."""
    items = [
        el(
            "li",
            el("b", flag.flag),
            el("span", el("span", class_=f"dot {m.color}"), m.label, class_="where"),
            el("p", flag.text),
        )
        for m in group.members
        for flag in m.run.result.flags
    ]
    return el(
        "section",
        el("h2", "Red flags"),
        _note(
            "A red flag says that the evaluation itself is suspect, so that its figures may flatter or wrong a defense."
        ),
        el("ul", items, class_="flags") if items else el("p", "None was raised."),
        id=f"{group.anchor}-flags",
    )


def environment(runs: Sequence[Run], skipped: Sequence[Skipped]) -> Html:
    """On what all this was measured, by which runs, and what was passed over."""
    keys = list(dict.fromkeys(key for run in runs for key in run.env if key != "started"))
    rows = [el("tr", el("th", key.removesuffix("_bytes"), scope="row"), el("td", _values(runs, key))) for key in keys]
    head = ["Run", "Experiment", "Split", "Defense", "Seed", "Started", "Train", "Measure", "Attack"]
    made = [el("tr", el("th", run.result.id, scope="row"), [el("td", cell) for cell in _made(run)]) for run in runs]
    unread = [el("li", el("b", run.result.id), f" {note}") for run in runs for note in run.notes]
    unread += [el("li", el("b", item.name), f" {item.reason}") for item in skipped]
    return _section(
        "How it was measured",
        tables.table("The machine and the software", ["Item", "Value"], [el("tbody", rows)], "environment")
        if rows
        else None,
        tables.table("The runs on this page", head, [el("tbody", made)]),
        el("p", "Repeat a run with ", el("code", "cutlayer run runs/ID/experiment.toml"), "."),
        [el("h3", "Skipped or incomplete"), el("ul", unread)] if unread else None,
    )


def _block(member: Member) -> Html:
    """One defense: the originals, then one row for each attack on the first deployment."""
    run, pictures = member.run, member.run.pictures
    heading = el("h3", el("span", class_=f"dot {member.color}"), member.label)
    indices = shown(run, GRID)
    if not indices:
        return el(
            "div", heading, el("p", "The pictures of this run could not be read.", class_="empty"), class_="block"
        )
    names = class_names(run, indices)
    rows = [_picture_row("original", "", strip(pictures["originals"], indices, f"Originals: {names}"))]
    seen: set[str] = set()
    for attack in run.result.privacy:
        if attack.label in seen or attack.label not in pictures:
            continue
        seen.add(attack.label)
        alt = f"{attack.label} with {member.label}: reconstructions of {names}"
        gain = LEAKAGE_GAIN.value(attack.leakage_gain.value)
        rows.append(
            _picture_row(
                attack.label, f"{access_name(attack.access)}, {gain}", strip(pictures[attack.label], indices, alt)
            )
        )
    return el("div", heading, rows, class_="block")


def _picture_row(name: str, note: str, picture: Html) -> Html:
    return el("div", el("div", name, el("small", note) if note else None), picture, class_="picture-row")


def _values(runs: Sequence[Run], key: str) -> list[Html]:
    """The value of one entry; where runs differ, each value with its runs."""
    by_value: dict[str, list[str]] = {}
    for run in runs:
        value = run.env.get(key, "unknown")
        by_value.setdefault(_value(key, value), []).append(run.result.id)
    if len(by_value) == 1:
        return [el("div", text) for text in by_value]
    return [el("div", text, el("small", ", ".join(ids))) for text, ids in by_value.items()]


def _value(key: str, value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value(name, one)}" for name, one in value.items())
    if key.endswith("_bytes") and isinstance(value, int):
        return size(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _made(run: Run) -> list[str]:
    result = run.result
    times = [seconds(result.seconds.get(key, float("nan"))) for key in ("train", "measure", "attack")]
    split = f"{result.data}, {result.model}, {result.cut}"
    return [result.name, split, result.defense_label, str(result.seed), str(run.env.get("started", "unknown")), *times]


def _definitions(title: str, items: Sequence[tuple[str, str]]) -> Html:
    return el("div", el("h3", title), el("dl", [[el("dt", name), el("dd", text)] for name, text in items]))


def _note(text: str) -> Html:
    return el("p", text, class_="note")


def _section(title: str, *children: object) -> Html:
    return el("section", el("h2", title), children)
