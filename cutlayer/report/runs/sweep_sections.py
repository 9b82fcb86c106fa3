"""The parts of the page for a sweep, where there are too many runs for a block each."""

from __future__ import annotations

from collections.abc import Sequence

from cutlayer.report.kit.markup import Html, el, note, section
from cutlayer.report.kit.pictures import picture_row, strip
from cutlayer.report.kit.wording import LEAKAGE_GAIN
from cutlayer.report.runs import tables
from cutlayer.report.runs.ceilings import ceilings
from cutlayer.report.runs.frontier import frontier
from cutlayer.report.runs.groups import Group
from cutlayer.report.runs.identified import every_way, ways_of
from cutlayer.report.runs.probes import found, probes
from cutlayer.report.runs.sections import GRID, headline
from cutlayer.report.runs.settings import Setting
from cutlayer.report.runs.spectrum import spectrum
from cutlayer.report.runs.story import class_names, originals, rebuilt_by, shown


def article(group: Group) -> list[Html | None]:
    """The frontier, the table, the worst pictures, and every number."""
    settings = group.settings
    return [frontier(group), headline(group), _pictures(settings), _numbers(group)]


def _pictures(settings: Sequence[Setting]) -> Html:
    """Reconstructions of the worst attack, one row for each setting."""
    rows: list[Html] = []
    for setting in settings:
        run = setting.members[0].run
        worst, indices = run.result.worst_case, shown(run, GRID)
        if not worst or not indices or (rebuilt := rebuilt_by(run, worst.label, worst.deployment)) is None:
            continue
        names = class_names(run, indices)
        if not rows:
            first = strip(originals(run), indices, f"Originals: {names}")
            rows.append(picture_row("original", "", first))
        about = f"{worst.label}, {LEAKAGE_GAIN.value(worst.leakage_gain.value)}"
        alt = f"{worst.label} with {setting.label}: reconstructions of {names}"
        rows.append(picture_row(setting.label, about, strip(rebuilt, indices, alt)))
    text = "Of the first seed; the percentage is that run's leakage gain."
    return section("The worst attack on each, in pictures", note(text), el("div", rows, class_="block"))


def _numbers(group: Group) -> Html:
    return section(
        "Every number",
        el("details", el("summary", "Every attack on every run"), tables.attacks(group)),
        el("details", el("summary", "End-to-end times and sizes"), tables.percentiles(group)),
        el("details", el("summary", "Who is identified under every defense"), every_way(ways_of(group.settings))),
        el("details", el("summary", "What the probes found"), probes(group)) if found(group) else None,
        el("details", el("summary", "The ceiling of every defense"), ceilings(group)),
        el("details", el("summary", "The spectrum of every head"), spectrum(group)),
    )
