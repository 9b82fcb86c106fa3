"""What no attacker exceeds under each defense, beside what the attacks of the plan reached."""

from __future__ import annotations

import math
from dataclasses import replace

from cutlayer.records.run import Ceiling, CeilingAt
from cutlayer.report.kit.markup import Html, dot, el, note, row, section, table
from cutlayer.report.kit.wording import DASH, LEAKAGE_GAIN, Scale, ceiling_assumes
from cutlayer.report.runs.groups import Group
from cutlayer.report.runs.settings import Setting

WHOLE = replace(LEAKAGE_GAIN, digits=0)
"""Whole percents, where a terminal has little room."""


def any_known(group: Group) -> bool:
    """Whether a run of the group says what its ceiling is, or that there is none."""
    return any(setting.ceiling for setting in group.settings)


def beside_worst(setting: Setting, scale: Scale = LEAKAGE_GAIN) -> str:
    """The ceiling of identification and leakage gain, in percent, each for as many releases as the worst observed."""
    ceiling, worst, found = setting.ceiling, setting.worst, setting.identifier
    if ceiling is None:
        return DASH
    if ceiling.none:
        return {"deterministic": "none", "density unknown": "unknown"}.get(ceiling.none, ceiling.none)
    identified, leakage = (ceiling.over(record.n_releases if record else 1) for record in (found, worst))
    if identified is leakage is None:
        return DASH
    first = scale.number(identified.identified.high) if identified else DASH
    return f"{first} / {scale.number(leakage.leakage_gain.high) if leakage else DASH}"


def both(at: CeilingAt | None, scale: Scale = LEAKAGE_GAIN) -> str:
    """Upper bounds of identification and leakage gain, "82.2 / 66.0"; a dash where they were not simulated."""
    return f"{scale.number(at.identified.high)} / {scale.number(at.leakage_gain.high)}" if at else DASH


def none_sentence(ceiling: Ceiling) -> str:
    """Why there is no ceiling."""
    return f"no ceiling: {ceiling.none}"


def gone(ceiling: Ceiling) -> str:
    """The number of releases after which nothing is hidden."""
    if ceiling.gone_after is None:
        return f"more than {ceiling.tried:,}" if ceiling.tried else DASH
    return f"{math.ceil(ceiling.gone_after):,}"


def releases(group: Group) -> list[int]:
    """The numbers of releases for which some setting has a ceiling."""
    return sorted({at.n_releases for setting in group.settings if setting.ceiling for at in setting.ceiling.at})


def rows(group: Group) -> list[tuple[Setting, list[str]]]:
    """The cells of each setting with a record: one for each number of releases, then when it is gone."""
    numbers, found = releases(group), list[tuple[Setting, list[str]]]()
    for setting in group.settings:
        if ceiling := setting.ceiling:
            by_number = {at.n_releases: at for at in ceiling.at}
            cells = [both(by_number.get(n)) for n in numbers] + [gone(ceiling)]
            found.append((setting, cells if not ceiling.none else [none_sentence(ceiling), *[""] * len(numbers)]))
    return found


def assumed_of(group: Group) -> str:
    """The assumptions of the group's ceilings."""
    return ceiling_assumes(setting.ceiling.candidates for setting in group.settings if setting.ceiling)


def ceilings(group: Group) -> Html | None:
    """The ceiling of each defense by the number of releases; None where no run has one."""
    numbers = releases(group)
    if not numbers:
        return None
    one = group.kind.one
    text = (
        "Where a defense adds noise whose density is known, the best possible attacker can be computed: nobody who "
        "is given the device's half, the defense and all candidates finds the true one more often, and no "
        "reconstruction has a smaller error on average. Each cell says how often the true "
        f"{one} is found, and the leakage gain, in percent. {assumed_of(group)} Gone after: the number of releases of "
        f"one {one} from which on the true one is found in 95 % of cases. A defense that adds no noise has no ceiling, "
        "for an attacker who knows the candidates compares what each of them would give."
    )
    head = ["Defense", *(f"{n} release{'s'[: n > 1]}" for n in numbers), "Gone after"]
    body = [row(el("th", dot(setting.color), setting.label, scope="row"), cells) for setting, cells in rows(group)]
    title = "What no attacker exceeds"
    return section(title, note(text), table(title, head, [el("tbody", body)], "numbers"))
