"""The report: one HTML page that needs nothing but itself, written from records alone."""

from collections.abc import Sequence
from pathlib import Path

from cutlayer.machine.files import check_writable
from cutlayer.records.files import write_text
from cutlayer.records.reading import Run, Skipped, read
from cutlayer.report.kit import markup
from cutlayer.report.kit.markup import Html, el
from cutlayer.report.runs import sections, sweep_sections
from cutlayer.report.runs.ceilings import ceilings
from cutlayer.report.runs.groups import Group, group
from cutlayer.report.runs.identified import identified
from cutlayer.report.runs.predictors import predictors
from cutlayer.report.runs.probes import probes
from cutlayer.report.runs.spectrum import spectrum
from cutlayer.report.runs.story import opening, pictures_first


def write(runs: Path) -> Path:
    """Write `report.html` into a folder with one folder for each run, and return its path.

    The page lists unfinished and damaged runs.

    Raises:
        CutlayerError: There is no folder, or no finished run in it.
        WriteError: The user may not write to it.
    """
    path = runs / "report.html"
    if runs.is_dir():
        check_writable(path, "file")
    finished, skipped = read(runs)
    write_text(path, page(finished, skipped))
    return path


def page(runs: Sequence[Run], skipped: Sequence[Skipped]) -> str:
    """The whole page as text."""
    groups = group(runs)
    links = [
        el("li", el("a", g.title, href=f"#{g.anchor}"), f": {len(g.members)} run{'s'[: len(g.members) > 1]}")
        for g in groups
    ]
    contents = el("nav", el("p", "On this page"), el("ul", links), aria_label="On this page") if links[1:] else None
    predicted = predictors([run.result for run in runs])
    main = el("main", opening(), contents, map(_article, groups), predicted, sections.environment(runs, skipped))
    return markup.page("cutlayer: what can the server see?", main)


def _article(group: Group) -> Html:
    title = el("p", group.title, class_="split")
    if group.is_sweep:
        return el("article", title, sweep_sections.article(group), id=group.anchor)
    parts = [sections.flags, pictures_first, sections.headline, sections.reconstructions, sections.privacy_accuracy]
    parts += [sections.latency, sections.attacks, identified, probes, ceilings, spectrum]
    return el("article", title, [part(group) for part in parts], id=group.anchor)
