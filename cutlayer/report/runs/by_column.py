"""How often each column of a table is read, by the attack that reads most, beside a guess without seeing."""

from __future__ import annotations

from cutlayer.records.run import AttackRecord, ColumnRecord
from cutlayer.report.kit.kinds import ROW
from cutlayer.report.kit.markup import Html, dot, el, note, row, section, small, table
from cutlayer.report.kit.wording import IDENTIFIED
from cutlayer.report.runs.groups import Group
from cutlayer.report.runs.settings import Setting

SHARE = IDENTIFIED
"""Shares are printed as those of what is identified."""
ABOUT = (
    "How often each column is read rightly, a word or a number within 0.319 standard deviations of its column, by the "
    f"attack that leaks most under each defense. Guessed: how often {ROW.guess} is right, which needs no message."
)


def best(setting: Setting) -> AttackRecord | None:
    """The attack of a setting that leaks most, of those with a record of columns."""
    known = [attack for attack in setting.attacks if attack.columns]
    return max(known, key=lambda attack: attack.leakage_gain.value, default=None)


def lines(settings: list[Setting]) -> list[tuple[str, float, list[ColumnRecord]]]:
    """Return the name of each column, how often guessing is right, and its record by each setting's best attack."""
    records = [found.columns for setting in settings if (found := best(setting))]
    return [(of[0].name, of[0].guessed, list(of)) for of in zip(*records, strict=True)] if records else []


def with_columns(group: Group) -> list[Setting]:
    """The settings of a group with a record of columns."""
    return [setting for setting in group.settings if best(setting)]


def by_column(group: Group) -> Html | None:
    """The table of the page; None where the inputs are no rows."""
    settings = with_columns(group)
    if not settings:
        return None
    head: list[object] = ["Column", "Guessed"]
    for setting in settings:
        by = [found.label for found in [best(setting)] if found]
        head.append(el("th", dot(setting.color), setting.label, map(small, by), scope="col"))
    body = [
        row(
            name,
            [
                SHARE.value(guessed),
                *(el("td", SHARE.value(of.right.value), small(SHARE.interval(of.right))) for of in records),
            ],
        )
        for name, guessed, records in lines(settings)
    ]
    return section("Which columns were read?", note(ABOUT), table("Columns read", head, [el("tbody", body)], "attacks"))
