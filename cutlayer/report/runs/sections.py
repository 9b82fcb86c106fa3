"""The parts of the page below its opening, one function each."""

from __future__ import annotations

from collections.abc import Sequence

from cutlayer.percentiles import LEAST_SAMPLES
from cutlayer.records.reading import Run, Skipped
from cutlayer.report.kit.markup import Html, dot, el, note, row, section, small, table
from cutlayer.report.kit.pictures import picture_row, strip
from cutlayer.report.kit.svg import stage_bar
from cutlayer.report.kit.wording import (
    ACCESS,
    LEAKAGE_GAIN,
    STAGE_WORDS,
    access_name,
    duration,
    scale,
    seconds,
    size,
    where_attackers_sit,
)
from cutlayer.report.runs import conditions, tables
from cutlayer.report.runs.charts import typical_request
from cutlayer.report.runs.claims import claims as stated_claims
from cutlayer.report.runs.claims import verdict
from cutlayer.report.runs.groups import Group
from cutlayer.report.runs.identified import about
from cutlayer.report.runs.settings import Member, typical
from cutlayer.report.runs.story import NO_PICTURE, class_names, originals, rebuilt_by, shown

GRID = 8  # pictures in a row of the grid


def headline(group: Group) -> Html:
    """The claim, the main table, and the machine with its load."""
    n, seeds = group.first.result.utility.accuracy.n, group.seeds
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
            f"Accuracy on {n:,} test images. The worst attack is the one with the highest leakage gain of all that "
            f"were run. Small figures are {over} 0 % leakage is what an attacker reaches who always guesses the "
            "average picture; 100 % is the exact picture. "
            f"{about(group)} The runs were timed one after the other, so that a "
            "difference of two times may be that of the machine's other work."
        ),
        note(conditions.machine(group)),
    )


def reconstructions(group: Group) -> Html:
    """Originals beside what each attack made of them, for each defense."""
    pictures = group.settings[0].members[0].run.pictures
    which = "The pictures are the private ones with most contrast; the figures are over all private ones."
    if pictures and pictures.tiles:
        which = "The photographs are laid together from their tiles; the figures are over all tiles."
    seed = " Pictures and percentages are those of the first seed." if len(group.seeds) > 1 else ""
    return section(
        "Every attack, in pictures",
        note(
            "The percentage beside an attack is its leakage gain, on the deployment that was measured first. "
            f"{which}{seed}"
        ),
        el("div", [_block(setting.members[0]) for setting in group.settings], class_="blocks"),
    )


def latency(group: Group) -> Html:
    """Stacked bars for each deployment, and the percentiles."""
    bars = []
    for name, setting in ((name, s) for name in group.deployments for s in group.settings if name in s.deployments):
        requests = [typical_request(member.run.traces, name) for member in setting.members]
        bars.append((name, setting, typical([stages for stages in requests if stages])))
    longest = max((sum(stages.values()) for *_, stages in bars), default=0.0) or 1.0
    rows = []
    for name, setting, stages in bars:
        title = el("span", el("b", name), " ", setting.label)
        p50 = el("span", f"p50 {duration(setting.time_ns(name))}")
        bar = el("p", "No raw samples of this deployment.", class_="empty")
        if stages:
            bar = stage_bar(stages, longest, f"{name}, {setting.label}")
        rows.append(el("div", el("div", title, p50, class_="bar-title"), bar))
    legend = [
        el("li", el("span", class_=f"swatch s-{stage}"), el("b", stage), f" {meaning}")
        for stage, meaning in STAGE_WORDS.items()
    ]
    mean = ", the mean over the seeds" if len(group.seeds) > 1 else ""
    return section(
        "Where the time goes",
        note(
            f"Each bar is one typical request{mean}: the mean over the tenth of the requests around the median one, so "
            "that the stages add up. Blue is the device, yellow the network, red the server, grey what no stage "
            "claims. The runs were timed one after the other, so that a difference of two bars may be that of the "
            "machine's other work. What a defense takes is the stage protect, and the stage head where the defense "
            "changed the head."
        ),
        el("div", rows, class_="bars"),
        el("ul", legend, class_="legend"),
        tables.percentiles(group),
        tables.stage_percentiles(group),
        note(
            "A percentile is printed only with enough samples behind it "
            f"({', '.join(f'p{q} needs {n}' for q, n in LEAST_SAMPLES.items() if n > 1)}); otherwise a dash, or no "
            "column."
        ),
    )


def attacks(group: Group) -> Html:
    """Every number of every attack, and the meaning of the columns."""
    scales = [LEAKAGE_GAIN, *map(scale, group.metrics)]
    metrics = [(metric.title, metric.explanation) for metric in scales if metric.explanation]
    judges = dict.fromkeys(member.run.result.judge for member in group.members if member.run.result.judge)
    metrics += [("Evaluation classifier", judge) for judge in judges]
    meanings = {"The metrics": metrics, "The attacker's access": [(name, f"{text}.") for name, text in ACCESS.values()]}
    lists = [
        el("div", el("h3", title), el("dl", [[el("dt", name), el("dd", text)] for name, text in items]))
        for title, items in meanings.items()
    ]
    result = group.first.result
    sits = note(where_attackers_sit(result.vantage, result.access, result.servers))
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
