"""What is left of the answers, in words and figures: an accuracy, or a cosine where the answers are vectors."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean as arithmetic_mean

from cutlayer.report.kit.comparison import against, interval_of_points, sign
from cutlayer.report.kit.wording import ACCURACY, DASH, Scale, points
from cutlayer.report.runs.groups import Group
from cutlayer.report.runs.settings import Setting, change, same_nearest, spread

COSINE = Scale("Cosine")
SAME_NEAREST = Scale("Same nearest", "%", 1, 100)


@dataclass(frozen=True)
class Usefulness:
    """How the use of the answers of a group is shown.

    Attributes:
        name: What it is called inside a sentence.
        scale: How the figure is printed.
        beside: Title of the figure beside it, with its unit.
        cost: What a defense costs, in words.
        answers: What the server answers; what the kind of the inputs says if empty.
    """

    name: str
    scale: Scale
    beside: tuple[str, str]
    cost: str
    answers: str = ""


OF_CLASSES = Usefulness("accuracy", ACCURACY, ("Change", "points"), "accuracy")
OF_VECTORS = Usefulness("cosine", COSINE, ("Same nearest", "%"), "the quality of the answers", "with a vector of it")


def of(group: Group) -> Usefulness:
    """How the use of the answers of a group is shown."""
    return of_setting(group.settings[0])


def beside(setting: Setting) -> tuple[str, str, str]:
    """The figure beside it, its interval, and those of the seeds: a change of accuracy, or how often the nearest stays.

    The change of the baseline is a dash.
    """
    if setting.first.utility.vectors:
        kept = setting.same_nearest
        of_seeds = spread(map(same_nearest, setting.results), SAME_NEAREST.number)
        return SAME_NEAREST.number(kept.value), SAME_NEAREST.interval(kept), of_seeds
    if setting.undefended:
        return DASH, "", ""
    found = setting.change
    return points(found.value), interval_of_points(found), spread(map(change, setting.results), points)


def in_a_cell(setting: Setting) -> str:
    """The same for the terminal: a change that is not told apart from none is in brackets."""
    text = beside(setting)[0]
    if setting.first.utility.vectors:
        return text
    if setting.undefended:
        return ""
    return text if sign(setting.change) else f"({text})"


def explained(group: Group, over: str = "") -> str:
    """What the figures mean and of how many inputs they are; `over` says over which seeds they are the mean."""
    samples, n = group.kind.samples, group.first.result.utility.figure.n
    if of(group) is OF_CLASSES:
        return f"Accuracy on {n:,} test {samples}{over}."
    known = [found.apart for member in group.members if (found := member.run.result.utility.vectors)]
    return (
        f"Cosine: between the vector that is answered and that of the whole model without a defense, the mean over "
        f"{n:,} test {samples}{over}; two different {samples} have {COSINE.number(arithmetic_mean(known))}. Same "
        f"nearest: the share of these {samples} whose nearest other one stays the same."
    )


def compared(setting: Setting) -> str:
    """What the answers of a setting are worth, in a sentence that begins with the figure."""
    words = of_setting(setting)
    text = f"{words.scale.title} {words.scale.value(setting.usefulness.value)}"
    if words is OF_VECTORS:
        near = f"{text} to the answers of the whole model without a defense"
        return f"{near}; the nearest other one stays the same in {beside(setting)[0]} %"
    if setting.undefended:
        return text
    without = "without a defense"
    if setting.first.utility.further_epochs:
        without += ", trained for as many epochs"
    return f"{text}, {against(setting.change, without)}"


def what_is_left(setting: Setting) -> str:
    """What a defense leaves of the answers."""
    if of_setting(setting) is OF_CLASSES:
        return f"With {setting.label}, accuracy is {against(setting.change, 'without a defense')}."
    near = setting.usefulness
    interval = f" (95 % interval {text})" if (text := COSINE.interval(near)) else ""
    return f"With {setting.label}, answers have a cosine of {COSINE.number(near.value)}{interval} to those without it."


def of_setting(setting: Setting) -> Usefulness:
    """How the use of the answers of a setting is shown."""
    return OF_VECTORS if setting.first.utility.vectors else OF_CLASSES
