"""Trials that failed or are unfinished, and folders that could not be read."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cutlayer.bounded import read_text
from cutlayer.records.failed import FAILED, FailedTrial, read_failure
from cutlayer.records.reading import Run, Skipped
from cutlayer.records.run import EXPERIMENT, RESULT
from cutlayer.report.kit.markup import Html, el, note, row, section, table
from cutlayer.report.kit.wording import DASH

MOST = 100
"""Trials in the table at most, and lines of a traceback."""
ANCHOR = "unfinished"
RAW = "raw"
"""The codec that goes without saying."""


@dataclass(frozen=True)
class Unfinished:
    """A trial without a result.

    Attributes:
        name: Name of its folder, the id of the experiment.
        about: What it would have measured; empty where its plan cannot be read.
        reason: Why it has no result; empty where it failed.
        failure: How it failed; None where it did not, as far as it says.
        running: Whether a process is at work on it.
    """

    name: str
    about: str
    reason: str
    failure: FailedTrial | None = None
    running: bool = False


def unfinished(runs: Path, skipped: Sequence[Skipped]) -> list[Unfinished]:
    """Every trial of a folder of runs that has no result: failed ones first, and running ones last."""
    running = {entry.name for entry in skipped if entry.running}
    failed = {path.parent.name: read_failure(path.parent) for path in sorted(runs.glob(f"*/{FAILED}"))}
    # A run whose later attempt succeeded, but whose failure was not deleted, has a result.
    failed = {
        name: found for name, found in failed.items() if not (runs / name / RESULT).exists() and name not in running
    }
    found = [Unfinished(name, _about(runs / name), "", failure) for name, failure in failed.items()]
    found += [
        Unfinished(entry.name, _about(runs / entry.name), entry.reason, running=entry.running)
        for entry in sorted(skipped, key=lambda entry: entry.running) if entry.name not in failed
    ]  # fmt: skip
    return found


def counted(found: Sequence[Unfinished]) -> Html | None:
    """One sentence for the top of the page, with a link; None where every trial has a result.

    It is an alarm where something is wrong, and not where the others are running.
    """
    failed, running = sum(entry.failure is not None for entry in found), sum(entry.running for entry in found)
    open_ = len(found) - failed - running
    without = f"{'has' if open_ == 1 else 'have'} no result yet, or none that can be read"
    said = [f"{n:,} {what}" for n, what in ((failed, "failed"), (open_, without)) if n]
    said += [f"{running:,} {'is' if running == 1 else 'are'} running"] if running else []
    if not said:
        return None
    text = " and ".join([*filter(None, [", ".join(said[:-1])]), said[-1]])
    link = el("a", text, href=f"#{ANCHOR}")
    return el("p", "Trials that are not on this page: ", link, ".", class_="missing" if failed or open_ else None)


def without_result(found: Sequence[Unfinished], runs: Sequence[Run]) -> Html | None:
    """The table of them, and what could not be read of the others."""
    notes = [el("li", el("b", run.result.id), f" {reason}") for run in runs for reason in run.notes]
    if not found and not notes:
        return None
    rows = [
        row(
            entry.name,
            [
                el("td", entry.about or DASH, class_="wrapping"),
                _happened(entry),
                entry.failure.host if entry.failure and entry.failure.host else DASH,
                entry.failure.when if entry.failure and entry.failure.when else DASH,
            ],
        )
        for entry in found[:MOST]
    ]
    more = len(found) - MOST
    head = ["Trial", "What it is", "What happened", "Machine", "When"]
    explained = (
        "A trial that failed or was stopped is taken up again by the same command; those that are finished are not run "
        "again. What is missing here is missing in every figure above."
    )
    return section(
        "Skipped or incomplete",
        note(explained),
        table("Trials without a result", head, [el("tbody", rows)], "environment") if rows else None,
        note(f"{more:,} more are in the folder.") if more > 0 else None,
        el("ul", notes) if notes else None,
        id=ANCHOR,
    )


def _happened(entry: Unfinished) -> Html:
    if entry.failure is None:
        return el("td", entry.reason)
    lines = entry.failure.traceback.splitlines()[-MOST:]
    where = el("details", el("summary", "Traceback"), el("pre", "\n".join(lines), tabindex=0)) if lines else None
    return el("td", el("b", "It failed: "), entry.failure.error, where)


def _about(folder: Path) -> str:
    """Data, model, cut, codec, defense and seed of a plan of one experiment; empty where it cannot be read."""
    try:
        plan = tomllib.loads(read_text(folder / EXPERIMENT))
    except (OSError, ValueError):
        return ""
    defense, measure = plan.get("defense"), plan.get("measure")
    parts = [_named(plan.get("data")), f"{_named(plan.get('model'))} cut at {plan.get('cut', DASH)}"]
    codec = measure.get("codec", RAW) if isinstance(measure, dict) else RAW
    parts += [f"codec {codec}"] if codec != RAW else []
    parts += [_options(entry) for entry in defense if isinstance(entry, dict)] if isinstance(defense, list) else []
    return ", ".join([*parts, f"seed {plan.get('seed', 0)}"])


def _named(value: Any) -> str:
    return str(value.get("name", DASH)) if isinstance(value, Mapping) else str(value or DASH)


def _options(defense: Mapping[str, Any]) -> str:
    rest = [f"{key}={value}" for key, value in defense.items() if key not in ("name", "title", "then")]
    return str(defense.get("title") or " ".join([_named(defense), *rest]))
