"""The terminal's view of a study of class-level inversion: each victim with its floors and its attacks."""

from __future__ import annotations

from collections.abc import Sequence

from cutlayer.records.class_level import CEILING, ClassRecord
from cutlayer.records.run import Estimate
from cutlayer.report.class_level.flags import SHARE, flags
from cutlayer.report.class_level.groups import Cell, Group, Who, group, who_text
from cutlayer.report.kit.columns import WIDTH, columns, wrap
from cutlayer.report.kit.wording import ACCURACY, DASH, Scale, scale, seconds

OVER = Scale("Error over the floor's", "", 2)
GAIN = Scale("Distance gain", "", 2)
HEAD = ("ATTACK", "GETS", "AGREED", "95 %", "FIRST", "CLOSED", "GAIN", "WORST CLASS", "ASKED/CLASS", "SAMPLED", "TIME")
INSTANCES = ("INPUTS REBUILT FROM ANSWERS", "ERROR/FLOOR", "PSNR", "IDENTIFIED", "TIME")
KINDS = {(True, True): " (ceiling)", (False, True): " (floor)", (False, False): ""}
"""What stands behind a title, by whether it is the ceiling and whether it is no attack."""


def text(records: Sequence[ClassRecord]) -> str:
    """A table for each victim, the signs that make a reader careful, and what could not be run."""
    parts = []
    for study in group(records):
        for who in study.victims:
            parts += _table(study, who)
        parts += [wrap(f"! {flag}", "  ") for flag in flags(study)]
        for (label, why), found in study.failed().items():
            defenses = ", ".join(dict.fromkeys(r.defense_label for r in found))
            parts.append(wrap(f"{label} on {defenses}: {why}", "  "))
    return "\n".join(parts)


def _table(study: Group, who: Who) -> list[str]:
    cells = [*study.cells(who, floors=True), *study.cells(who)]
    if not cells:
        return []
    accuracies = [r.accuracy for r in study.records if (r.epochs, r.defense_label) == who and r.accuracy is not None]
    told = f"{study.title}, {who_text(who)}"
    if accuracies:
        told += f": accuracy {ACCURACY.value(sum(a.value for a in accuracies) / len(accuracies))}"
    found = [told, columns(HEAD, [_row(cell) for cell in cells], left=(0, 1), width=WIDTH, rule=True)]
    if rebuilding := study.rebuilding(who):
        shown = [[cell.first.label, *_instances(cell)] for cell in rebuilding]
        found.append(columns(INSTANCES, shown, width=WIDTH, rule=True))
    return found


def _instances(cell: Cell) -> list[str]:
    values = [(OVER, cell.metric("over floor")), *((scale(m), cell.metric(m)) for m in ("psnr", "identification"))]
    return [*(words.value(v.value) if v is not None else DASH for words, v in values), seconds(cell.seconds)]


def _row(cell: Cell) -> list[str]:
    first, agreed, worst = cell.first, cell.metric("agreed"), cell.worst
    shares = [share(cell.metric(name)) for name in ("acc@1", "closed")]
    return [
        f"{first.label}{KINDS[first.attack == CEILING, first.floor]}",
        first.access,
        share(agreed),
        SHARE.interval(agreed) if agreed else "",
        *shares,
        GAIN.value(gain.value) if (gain := cell.metric("distance gain")) is not None else DASH,
        f"{worst[0]}: {SHARE.value(worst[1])}" if worst else DASH,
        f"{cell.per_class:,.0f}",
        share(cell.metric("agreed", sampled=True)),
        seconds(cell.seconds),
    ]


def share(found: Estimate | None) -> str:
    """A share in percent; a dash where there is none."""
    return DASH if found is None else SHARE.value(found.value)
