"""The terminal's view of a study of updates: each defense with its worst attacker."""

from __future__ import annotations

from collections.abc import Sequence

from cutlayer.records.gradients import UpdateRecord
from cutlayer.report.gradients.groups import Cell, group, where_text
from cutlayer.report.kit.columns import WIDTH, columns, wrap
from cutlayer.report.kit.wording import DASH, LEAKAGE_GAIN, defense_name, scale

SMASHED = (
    "All of this is about the path of the weights. In split learning the smashed data go up for every sample and step; "
    "no defense of updates touches them."
)


def text(records: Sequence[UpdateRecord]) -> str:
    """Each defense with its worst attacker, for each kind of update, and what failed."""
    parts = []
    for study in group(records):
        head = ["UPDATE", "DEFENSE", "WORST ATTACK", "GAIN", "PSNR", "SSIM", "> 25 DB", "IDENTIFIED", "LABELS"]
        rows = [
            [where_text(place), defense_name(defense), worst.first.label, *_figures(worst)]
            for place in study.places
            for defense in study.defenses
            if (worst := study.worst(defense, place)) is not None
        ]
        parts += [
            f"{study.title}: what the worst attacker rebuilds",
            columns(head, rows, left=(0, 1, 2), width=WIDTH, rule=True),
        ]
        for record in study.records:
            if record.failed:
                parts.append(
                    wrap(f"{record.label} on {record.defense_label}, B {record.samples}: {record.failed}", "  ")
                )
    return "\n".join([*parts, wrap(SMASHED)])


def _figures(cell: Cell) -> list[str]:
    gain = cell.gain
    found = [LEAKAGE_GAIN.value(gain.value) if gain else DASH]
    for name, words in (("psnr", scale("psnr")), ("ssim", scale("ssim")), ("rebuilt", LEAKAGE_GAIN)):
        value = cell.metric(name)
        found.append(words.value(value.value) if value else DASH)
    for name in ("identification", "labels"):
        value = cell.metric(name)
        found.append(LEAKAGE_GAIN.value(value.value) if value else DASH)
    return found
