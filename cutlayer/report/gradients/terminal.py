"""The terminal's view of a study of updates: each defense with its worst attacker."""

from __future__ import annotations

from collections.abc import Sequence

from cutlayer.data.modality import IMAGE, TABLE, TOKENS
from cutlayer.records.gradients import UpdateRecord
from cutlayer.report.gradients.groups import Cell, group, where_text
from cutlayer.report.kit.columns import WIDTH, columns, wrap
from cutlayer.report.kit.wording import DASH, LEAKAGE_GAIN, Scale, defense_name, scale, seconds

SHARE = Scale("Share", "%", 0, 100)
SMASHED = (
    "All of this is about the path of the weights. In split learning the smashed data go up for every sample and step; "
    "no defense of updates touches them."
)


def text(records: Sequence[UpdateRecord]) -> str:
    """Each defense with its worst attacker, for each kind of update, and what failed."""
    parts = []
    for study in group(records):
        head = ["UPDATE", "DEFENSE", "WORST ATTACK", "GAIN", "PSNR", "SSIM", "> 25 DB", "IDENTIFIED", "LABELS"]
        if (found := study.kind) != IMAGE.name:
            head[5:7] = ["COLUMNS", "ROWS"] if found == TABLE.name else ["TOKENS", "SENTENCES"]
        if found == TOKENS:
            head[4] = "ROUGE-L"
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


def attacks(records: Sequence[UpdateRecord]) -> str:
    """Each attack and each floor on updates without a defense, beside published values."""
    head = ["UPDATE", "ATTACK", "GAIN", "PSNR", "SSIM", "> 25 DB", "IDENTIFIED", "LABELS", "N", "TIME", "PUBLISHED"]
    parts = []
    for study in group(records):
        rows = []
        for place in study.places:
            labels = [(label, True) for label in study.floors] + [(label, False) for label in study.attacks]
            for label, floor in labels:
                cell = study.cell("none", label, place, floor=floor)
                if cell is None or (gain := cell.gain) is None:
                    continue
                taken = sum(r.seconds for r in cell.records)
                rows.append([where_text(place), label, *_figures(cell), str(gain.n), seconds(taken), _published(cell)])
        parts += [f"{study.title}: every attack without a defense", columns(head, rows, left=(0, 1), rule=True)]
    return "\n".join(parts)


def _published(cell: Cell) -> str:
    found = cell.first.published
    if found is None:
        return ""
    return ", ".join(f"{name} {value:g}" for name, value in found.values.items()) + f" ({found.source})"


def _figures(cell: Cell) -> list[str]:
    """Gain, PSNR, SSIM and the share above 25 dB, or what rows and sentences have in their places; then the rest."""
    gain = cell.gain
    found = [LEAKAGE_GAIN.value(gain.value) if gain else DASH]
    named = {
        IMAGE.name: [("psnr", scale("psnr")), ("ssim", scale("ssim")), ("rebuilt", SHARE)],
        TABLE.name: [("psnr", scale("psnr")), ("features", SHARE), ("exact rows", SHARE)],
        TOKENS: [("rouge-l", scale("rouge-l")), ("token-accuracy", SHARE), ("exact", SHARE)],
    }[cell.kind]
    for name, words in (*named, ("identification", SHARE), ("labels", SHARE)):
        value = cell.metric(name)
        exact = value is not None and not value.n and value.infinite
        found.append("exact" if exact else words.value(value.value) if value else DASH)
    return found
