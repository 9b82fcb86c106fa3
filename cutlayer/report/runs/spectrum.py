"""Is the input gone, or only faint? The spectrum of the head's Jacobian, in plain words."""

from __future__ import annotations

from cutlayer.records.run import Spectrum
from cutlayer.report.kit.kinds import Kind
from cutlayer.report.kit.markup import Html, dot, el, note, section
from cutlayer.report.runs.groups import Group

FEWER, FAINTER = 0.9, 2.0
"""Against the undefended head: the share of directions and the factor of faintness from which a change is stated."""


def spectrum(group: Group) -> Html | None:
    """The spectrum of the first layers under each defense; None where no run has measured it."""
    items = [
        el("li", el("b", dot(member.color), member.label), el("p", sentence(measured, setting.undefended, group.kind)))
        for setting in group.settings
        for member in setting.members[:1]
        if (measured := setting.first.spectrum)
    ]
    if not items:
        return None
    one = group.kind.one
    text = (
        f"An attack that changes a guess step by step fails where the {one} is gone, but also where it is only passed "
        f"on faintly: then another attack may succeed. So the {one} is changed a little, in one direction after "
        "another, and the change of what the first layers give is measured. Noise and zeros that are added afterwards "
        "do not count here."
    )
    if len(group.seeds) > 1:
        text += " Of a defense with several seeds, the first is told."
    return section(f"Is the {one} gone, or only faint?", note(text), el("ul", items, class_="plain"))


def sentence(measured: Spectrum, undefended: bool, kind: Kind) -> str:
    """A spectrum in words, beside that of the head without the defense."""
    head, before = measured.head, measured.undefended
    text = (
        f"Of the {measured.directions:,} directions in which such {kind.many} differ most ({measured.variance:.0%} of "
        f"all their difference), the first layers pass on {head.passed:,.0f}"
    )
    text += f", the faintest {head.condition:,.0f} times more faintly than the strongest. " if head.passed else ". "
    if undefended:
        return text.rstrip()
    if head == before:
        return text + "The defense leaves that as it was."
    text += f"Without the defense it is {before.passed:,.0f}, and {before.condition:,.0f} times: "
    if head.passed < FEWER * before.passed:
        return text + f"part of the {kind.one} is gone, as far as small changes tell."
    if head.condition > FAINTER * before.condition:
        return text + "nothing more is gone, it is only fainter. An attack that stalls here proves nothing."
    return text + "about the same, so that the gradient is not what protects."
