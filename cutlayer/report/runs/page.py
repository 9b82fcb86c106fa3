"""The report: one HTML page that needs nothing but itself, written from the records of runs, trainings and studies."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cutlayer.machine.files import check_writable
from cutlayer.records.class_level import ClassRecord
from cutlayer.records.files import write_text
from cutlayer.records.gradients import UpdateRecord
from cutlayer.records.reading import Run, Study, Training, class_studies, read, studies, trainings
from cutlayer.report.class_level import sections as class_sections
from cutlayer.report.class_level import story as class_story
from cutlayer.report.class_level.groups import group as class_groups
from cutlayer.report.gradients import sections as update_sections
from cutlayer.report.gradients.groups import group as update_groups
from cutlayer.report.kit import markup
from cutlayer.report.kit.figure import script
from cutlayer.report.kit.kinds import INPUT
from cutlayer.report.kit.markup import Html, el
from cutlayer.report.kit.studied import environment
from cutlayer.report.runs import sections
from cutlayer.report.runs.anatomy import anatomy
from cutlayer.report.runs.bandwidth import bandwidth
from cutlayer.report.runs.defense_pages import defense_pages
from cutlayer.report.runs.depth import FULL, MOST_BYTES, Depth, affordable, left_out
from cutlayer.report.runs.frontier import frontier
from cutlayer.report.runs.groups import Group, group
from cutlayer.report.runs.made import made
from cutlayer.report.runs.matrix import matrix
from cutlayer.report.runs.predictors import predictors
from cutlayer.report.runs.raised import on_top
from cutlayer.report.runs.story import inputs_first, opening
from cutlayer.report.runs.unfinished import Unfinished, counted, unfinished, without_result
from cutlayer.report.runs.usefulness import OF_CLASSES, OF_VECTORS, of
from cutlayer.report.trainings import sections as training_sections
from cutlayer.report.trainings.groups import group as trained_groups


def write(runs: Path) -> Path:
    """Write `report.html` into a folder with one folder for each run or training, and return its path.

    The page lists failed, unfinished and damaged runs. It is below 10 MB, whatever the number of runs: where there are
    many, it shows fewer and smaller pictures, and says so.

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
    missing = unfinished(runs, [*skipped, *damaged, *unread, *unreadable])
    for depth in affordable(group(finished)):
        text = page(finished, missing, trained, studied, of_classes, depth)
        if len(text.encode(errors="backslashreplace")) <= MOST_BYTES:
            break
    write_text(path, text)
    return path


def page(
    runs: Sequence[Run],
    missing: Sequence[Unfinished],
    trained: Sequence[Training] = (),
    studied: Sequence[Study[UpdateRecord]] = (),
    of_classes: Sequence[Study[ClassRecord]] = (),
    depth: Depth = FULL,
) -> str:
    """The whole page as text."""
    groups = [replace(found, settings=found.settings[: depth.settings]) for found in group(runs)]
    taught = trained_groups([training.record for training in trained])
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
    kinds = list(dict.fromkeys(found.kind for found in groups))
    kind = kinds[0] if len(kinds) == 1 else INPUT
    vectors = bool(groups) and all(of(found) is OF_VECTORS for found in groups)
    useful = OF_VECTORS if vectors else OF_CLASSES
    warned = on_top(groups, counted(missing), left_out(depth, kind)) if runs else None
    parts: list[object] = [opening(warned, kind, useful) if warned else first(), contents, _articles(groups, depth)]
    parts += [predicted] if runs else []
    parts += [map(training_sections.article, taught), training_sections.environment(trained)]
    parts += [map(update_sections.article, of_updates)]
    parts += [environment(studied, "updates", "cutlayer gradients runs/ID/gradients.toml")]
    parts += [map(class_sections.article, by_class)]
    parts += [environment(of_classes, "classes", "cutlayer class-level runs/ID/class-level.toml")]
    parts += [without_result(missing, runs), sections.environment(runs) if runs else None]
    title = "cutlayer: training by clients and a server" if taught else "cutlayer: what do updates give away?"
    title = "cutlayer: what does a model tell of those it was trained on?" if first is class_story.opening else title
    title = "cutlayer: what can the server see?" if runs else title
    return markup.page(title, el("main", parts), script=script() if runs else None)


def _articles(groups: Sequence[Group], depth: Depth) -> list[Html]:
    """One for each group; groups that differ in their codec alone share the table of what is sent, in the first."""
    of_split: dict[tuple[str, str, str], list[Group]] = {}
    for found in groups:
        of_split.setdefault(_split(found), []).append(found)
    return [
        _article(found, of_split.pop(key, ()), depth) for found, key in zip(groups, map(_split, groups), strict=True)
    ]


def _split(group: Group) -> tuple[str, str, str]:
    result = group.first.result
    return result.data, result.model, result.cut


def _article(group: Group, alike: Sequence[Group], depth: Depth) -> Html:
    parts: list[Html | None] = [inputs_first(group), frontier(group), sections.headline(group), matrix(group)]
    parts += [defense_pages(group, depth), anatomy(group, numbers=depth.numbers), bandwidth(alike)]
    parts += sections.details(group) if depth.numbers else []
    by = made(group)
    shown = [(part, by) for part in parts if part]
    return el("article", el("p", group.title, class_="split"), shown, id=group.anchor, aria_label=group.title)
