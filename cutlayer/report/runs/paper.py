r"""The frontier and the matrix as tables for a paper: LaTeX with booktabs, or Markdown."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cutlayer.foreign import shown
from cutlayer.machine.files import check_writable
from cutlayer.records.files import write_text
from cutlayer.records.reading import read
from cutlayer.records.run import Estimate
from cutlayer.report.kit.wording import (
    DASH,
    IDENTIFIED,
    LEAKAGE_GAIN,
    MINUS,
    SPACE,
    Scale,
    duration,
    size,
)
from cutlayer.report.runs import conditions, usefulness
from cutlayer.report.runs.frontier import LEAKAGE, UTILITY, on_the_line
from cutlayer.report.runs.groups import Group, group
from cutlayer.report.runs.made import in_words
from cutlayer.report.runs.matrix import leaked_by, worst_of


@dataclass(frozen=True)
class Cell:
    """A figure and its interval; a name has none."""

    text: str
    interval: str = ""
    bold: bool = False


@dataclass(frozen=True)
class PaperTable:
    """A table without any markup.

    Attributes:
        label: Identifier for references.
        caption: What it shows, the numbers of samples, and what the signs mean.
        comments: Lines that a reader of the source sees.
    """

    label: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    comments: tuple[str, ...]


def write(runs: Path, kind: str) -> Path:
    """Write `report.tex` or `report.md` into a folder of runs, and return its path.

    Args:
        runs: Folder with one folder for each run.
        kind: ``latex`` or ``markdown``.

    Raises:
        CutlayerError: There is no folder, or no finished run in it.
        WriteError: The user may not write to it.
    """
    suffix, text = KINDS[kind]
    path = runs / f"report.{suffix}"
    if runs.is_dir():
        check_writable(path, "file")
    write_text(path, text([table for found in group(read(runs)[0]) for table in paper_tables(found)]))
    return path


def paper_tables(group: Group) -> list[PaperTable]:
    """The frontier of a group, and its matrix where an attack was run."""
    raised = Counter(flag.flag for member in group.members for flag in member.run.result.flags)
    raised.update(flag.flag for flag in conditions.flags(group))
    flags = ", ".join(f"{kind} ({n})" for kind, n in sorted(raised.items()))
    comments = (
        f"Made by: {in_words(group)}",
        f"Red flags: {flags}; read them in the report before you cite a figure."
        if flags
        else "No red flag was raised.",
    )
    tables = [_frontier(group, comments)]
    return tables + ([_matrix(group, comments)] if any(s.attacks for s in group.settings) else [])


def latex(tables: Sequence[PaperTable]) -> str:
    r"""Tables for a document that loads the package booktabs."""
    return "% Needs \\usepackage{booktabs}.\n" + "\n".join(map(_latex_table, tables))


def markdown(tables: Sequence[PaperTable]) -> str:
    """Tables of GitHub's Markdown."""
    return "\n".join(map(_markdown_table, tables))


KINDS: dict[str, tuple[str, Callable[[Sequence[PaperTable]], str]]] = {
    "latex": ("tex", latex),
    "markdown": ("md", markdown),
}
"""Suffix of the file and function of each kind."""


def _frontier(group: Group, comments: tuple[str, ...]) -> PaperTable:
    on_line = on_the_line(group.settings, UTILITY, LEAKAGE)
    useful, rows = usefulness.of(group), []
    for setting in group.settings:
        time = setting.request_ns()
        between = f"{duration(time.low)}, {duration(time.high)}" if math.isfinite(time.low) else ""
        rows.append(
            (
                Cell(setting.label + (" *" if setting in on_line else "")),
                _cell(setting.usefulness, useful.scale),
                _cell(setting.leakage, LEAKAGE_GAIN),
                Cell(setting.attackers),
                _cell(setting.identified, IDENTIFIED),
                Cell(duration(time.value), between),
                Cell(size(setting.sent_bytes())),
            )
        )
    over = f" over {group.deployments[0]}" if group.deployments else ""
    caption = (
        f"{group.title}: {useful.name}, worst-case leakage gain with the attack that reaches it, share of identified "
        f"inputs, median time of a request{over} and bytes sent. {_samples(group)} * no other setting betters it in "
        f"{useful.name} and leakage."
    )
    head = ("Defense", useful.scale.heading, "Leakage, %", "Worst attack", "Identified, %", "Request", "Sent")
    return PaperTable(f"{group.anchor}-frontier", caption, head, tuple(rows), comments)


def _matrix(group: Group, comments: tuple[str, ...]) -> PaperTable:
    leaking = [leaked_by(setting) for setting in group.settings]
    labels = list(dict.fromkeys(label for cells in leaking for label in cells))
    rows = []
    for setting, cells in zip(group.settings, leaking, strict=True):
        worst = worst_of(cells)
        figures = [
            _cell(cells[label], LEAKAGE_GAIN, bold=label == worst) if label in cells else Cell(DASH) for label in labels
        ]
        rows.append((Cell(setting.label), *figures))
    caption = (
        f"{group.title}: leakage gain of each attack on each defense in percent, on the deployment where the attack "
        f"gets most; the worst of each row is bold. {_samples(group)}"
    )
    return PaperTable(f"{group.anchor}-matrix", caption, ("Defense", *labels), tuple(rows), comments)


def _samples(group: Group) -> str:
    first, seeds = group.first.result, group.seeds
    tested, attacked = first.utility.figure.n, max((a.n for a in first.privacy), default=0)
    text = f"n = {tested:,} test and {attacked:,} attacked inputs per seed; 95 % intervals in brackets"
    many = f"; mean over seeds {', '.join(map(str, seeds))}, intervals from the lowest to the highest end"
    return text + (many if len(seeds) > 1 else "") + "."


def _cell(estimate: Estimate, scale: Scale, *, bold: bool = False) -> Cell:
    return Cell(scale.number(estimate.value), scale.interval(estimate).replace(" to ", ", "), bold)


# A bracket would be an option of the line break before it, where a row begins with it.
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "[": "{[}", "]": "{]}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "µ": r"$\mu$", MINUS: "$-$", DASH: "--",
    SPACE: "~", "∞": r"$\infty$",
}  # fmt: skip


def latex_text(text: str) -> str:
    """A text for LaTeX in which nothing is a command of LaTeX, and no letter is one that its usual fonts lack."""
    return "".join(map(_latex_letter, shown(text, most=None)))


def _latex_letter(letter: str) -> str:
    if letter in _LATEX:
        return _LATEX[letter]
    return letter if ord(letter) < 0x100 else f"{{[}}U+{ord(letter):04X}{{]}}"


def markdown_text(text: str) -> str:
    """A text in which nothing is a sign of Markdown or of HTML."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#~&" else c for c in shown(text, most=None))


def _latex_table(table: PaperTable) -> str:
    def cell(cell: Cell) -> str:
        text = latex_text(cell.text)
        text = rf"\textbf{{{text}}}" if cell.bold else text
        return text + (rf" {{\scriptsize [{latex_text(cell.interval)}]}}" if cell.interval else "")

    lines = [f"% {shown(comment, most=None)}" for comment in table.comments]
    lines += [r"\begin{table}", r"\centering\footnotesize", rf"\caption{{{latex_text(table.caption)}}}",
              rf"\label{{tab:{table.label}}}", rf"\begin{{tabular}}{{l{'r' * (len(table.head) - 1)}}}", r"\toprule",
              " & ".join(map(latex_text, table.head)) + r" \\", r"\midrule"]  # fmt: skip
    lines += [" & ".join(map(cell, row)) + r" \\" for row in table.rows]
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _commented(text: str) -> str:
    """A text that does not end the comment in which it stands."""
    return shown(text, most=None).replace("-->", "-- >").replace("--!>", "-- !>")


def _markdown_table(table: PaperTable) -> str:
    def cell(cell: Cell) -> str:
        text = markdown_text(cell.text)
        text = f"**{text}**" if cell.bold else text
        return text + (f" \\[{markdown_text(cell.interval)}\\]" if cell.interval else "")

    lines = [f"<!-- {_commented(comment)} -->" for comment in table.comments]
    lines += ["", markdown_text(table.caption), ""]
    lines += [f"| {' | '.join(map(markdown_text, table.head))} |", f"| --- |{' ---: |' * (len(table.head) - 1)}"]
    lines += [f"| {' | '.join(map(cell, row))} |" for row in table.rows]
    return "\n".join(lines) + "\n"
