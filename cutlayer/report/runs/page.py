"""The report: one HTML page that needs nothing but itself, written from the records of runs, trainings and studies."""

from collections.abc import Sequence
from pathlib import Path

from cutlayer.machine.files import check_writable
from cutlayer.records.class_level import ClassRecord
from cutlayer.records.files import write_text
from cutlayer.records.gradients import UpdateRecord
from cutlayer.records.reading import Run, Skipped, Study, Training, class_studies, read, studies, trainings
from cutlayer.report.class_level import sections as class_sections
from cutlayer.report.class_level import story as class_story
from cutlayer.report.class_level.groups import group as class_groups
from cutlayer.report.gradients import sections as update_sections
from cutlayer.report.gradients.groups import group as update_groups
from cutlayer.report.kit import markup
from cutlayer.report.kit.figure import script
from cutlayer.report.kit.markup import Html, el
from cutlayer.report.kit.studied import environment
from cutlayer.report.runs import sections, sweep_sections
from cutlayer.report.runs.ceilings import ceilings
from cutlayer.report.runs.frontier import frontier
from cutlayer.report.runs.groups import Group, group
from cutlayer.report.runs.identified import identified
from cutlayer.report.runs.predictors import predictors
from cutlayer.report.runs.probes import probes
from cutlayer.report.runs.raised import on_top
from cutlayer.report.runs.spectrum import spectrum
from cutlayer.report.runs.story import opening, pictures_first
from cutlayer.report.trainings import sections as training_sections
from cutlayer.report.trainings.groups import group as trained_groups


def write(runs: Path) -> Path:
    """Write `report.html` into a folder with one folder for each run or training, and return its path.

    The page lists unfinished and damaged runs.

    Raises:
        CutlayerError: There is no folder, or neither a finished run nor a training nor a study in it.
        WriteError: The user may not write to it.
    """
    path = runs / "report.html"
    if runs.is_dir():
        check_writable(path, "file")
    finished, skipped = read(runs)
    trained, damaged = trainings(runs)
    (studied, unread), (of_classes, unreadable) = studies(runs), class_studies(runs)
    passed_over = [*skipped, *damaged, *unread, *unreadable]
    write_text(path, page(finished, passed_over, trained, studied, of_classes))
    return path


def page(
    runs: Sequence[Run],
    skipped: Sequence[Skipped],
    trained: Sequence[Training] = (),
    studied: Sequence[Study[UpdateRecord]] = (),
    of_classes: Sequence[Study[ClassRecord]] = (),
) -> str:
    """The whole page as text."""
    groups, taught = group(runs), trained_groups([training.record for training in trained])
    listed = [(g.anchor, g.title, f"{len(g.members)} run{'s'[: len(g.members) > 1]}") for g in groups]
    listed += [(g.anchor, f"Training: {g.title}", training_sections.names(g.runs)) for g in taught]
    of_updates = update_groups(
        (record for study in studied for record in study.records),
        {study.records[0].study: study.folder for study in studied},
    )
    listed += [(g.anchor, f"Updates: {g.title}", update_sections.names(g)) for g in of_updates]
    by_class = class_groups(
        (record for study in of_classes for record in study.records),
        {study.records[0].study: study.folder for study in of_classes},
    )
    listed += [(g.anchor, f"Classes: {g.title}", class_sections.names(g)) for g in by_class]
    links = [el("li", el("a", title, href=f"#{anchor}"), f": {count}") for anchor, title, count in listed]
    contents = el("nav", el("p", "On this page"), el("ul", links), aria_label="On this page") if links[1:] else None
    predicted = predictors([run.result for run in runs])
    others = update_sections.opening if of_updates or not by_class else class_story.opening
    first = training_sections.opening if taught else others
    parts = [opening(on_top(groups, None)) if runs else first(), contents, map(_article, groups)]
    parts += [predicted] if runs else []
    parts += [map(training_sections.article, taught), training_sections.environment(trained)]
    parts += [map(update_sections.article, of_updates)]
    parts += [environment(studied, "updates", "cutlayer gradients runs/ID/gradients.toml")]
    parts += [map(class_sections.article, by_class)]
    parts += [environment(of_classes, "classes", "cutlayer class-level runs/ID/class-level.toml")]
    parts += [sections.environment(runs, skipped)] if runs or skipped else []
    title = "cutlayer: training by clients and a server" if taught else "cutlayer: what do updates give away?"
    title = "cutlayer: what does a model tell of those it was trained on?" if first is class_story.opening else title
    title = "cutlayer: what can the server see?" if runs else title
    return markup.page(title, el("main", parts), script=script() if runs else None)


def _article(group: Group) -> Html:
    title = el("p", group.title, class_="split")
    if group.is_sweep:
        return el("article", title, sweep_sections.article(group), id=group.anchor)
    parts = [pictures_first, frontier, sections.headline, sections.reconstructions]
    parts += [sections.latency, sections.attacks, identified, probes, ceilings, spectrum]
    return el("article", title, [part(group) for part in parts], id=group.anchor)
