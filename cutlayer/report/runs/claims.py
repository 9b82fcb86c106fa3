"""What a plan claims, as a claim: printed with the verdict of the table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from cutlayer.errors import ConfigError
from cutlayer.records import expectation
from cutlayer.records.expectation import Expectation, Figure
from cutlayer.records.run import Estimate, Result
from cutlayer.report.kit.comparison import UNKNOWN, less, mean, sign
from cutlayer.report.kit.wording import ACCURACY, IDENTIFIED, LEAKAGE_GAIN, Scale, scale
from cutlayer.report.runs.groups import Group
from cutlayer.report.runs.settings import Setting, change
from cutlayer.report.runs.usefulness import COSINE, SAME_NEAREST

SUPPORTED, UNSUPPORTED, UNCHECKED = "supported by the table", "not supported by the table", "not checked"


def claims(group: Group) -> Mapping[tuple[str, tuple[str, ...]], list[tuple[str, str]]]:
    """Each claim with its expectations, and for each of these a verdict and the figures behind it."""
    stated = dict.fromkeys((r.claim, r.expect) for m in group.members if (r := m.run.result).claim or r.expect)
    return {(claim, expected): [judge(group, text) for text in expected] for claim, expected in stated}


def verdict(judged: list[tuple[str, str]]) -> str:
    """The verdict on a whole claim: that on its expectations, as a sentence."""
    if not judged:
        return "The plan states no expectation by which the table could support the claim or not."
    counts = Counter(found for found, _ in judged)
    if counts[UNSUPPORTED]:
        return f"Not supported by the table: {_of(counts[UNSUPPORTED], len(judged))} not met."
    if counts[UNCHECKED]:
        if len(judged) == 1:
            return "Not checked: for its expectation there is no run."
        return f"Not checked in full: for {counts[UNCHECKED]} of {len(judged)} expectations there is no run."
    return "Supported by the table."


def _of(some: int, all_: int) -> str:
    """How many expectations, with the verb."""
    if all_ == 1:
        return "its expectation is"
    return f"{some} of {all_} expectations {'is' if some == 1 else 'are'}"


def judge(group: Group, text: str) -> tuple[str, str]:
    """Whether the table supports an expectation, and the figures in words.

    It does where the intervals do not overlap, in the direction that is expected, for each seed.
    """
    try:
        expected = expectation.parse(text)
    except ConfigError:
        return UNCHECKED, "this version of cutlayer cannot read it"
    settings = {setting.first.defense_label: setting for setting in group.settings}
    left = _of_seeds(settings, expected.left)
    right = _of_seeds(settings, expected.right) if isinstance(expected.right, Figure) else {}
    if not left or (isinstance(expected.right, Figure) and not right):
        return UNCHECKED, "there is no run that has these figures"
    found = sign(_difference(settings, expected, left, right))
    words = _scale(expected.left).value
    figures = f"{words(mean([*left.values()]).value)} against "
    figures += words(mean([*right.values()]).value if right else _number(expected.right))
    if found == (-1 if expected.less else 1):
        return SUPPORTED, figures
    return UNSUPPORTED, figures + (", which is the opposite" if found else ", which are not told apart")


def _difference(
    settings: Mapping[str, Setting], expected: Expectation, left: Mapping[int, Estimate], right: Mapping[int, Estimate]
) -> Estimate:
    """The left side less the right one, seed by seed; paired by images where it is a change of accuracy."""
    if not isinstance(expected.right, Figure):
        limit = expected.right
        return mean([Estimate(e.value - limit, e.n, e.low - limit, e.high - limit) for e in left.values()])
    names = {expected.left.name, expected.right.name}
    of_answers = names in ({expectation.ACCURACY}, {expectation.COSINE})
    if of_answers and settings[expected.right.defense].undefended:
        return mean([*map(change, settings[expected.left.defense].results)])
    if of_answers and settings[expected.left.defense].undefended:
        found = mean([*map(change, settings[expected.right.defense].results)])
        return Estimate(-found.value, found.n, -found.high, -found.low)
    common = [seed for seed in left if seed in right]
    return mean([less(left[seed], right[seed]) for seed in common]) if common else UNKNOWN


def _of_seeds(settings: Mapping[str, Setting], side: Figure | float) -> dict[int, Estimate]:
    """The figure of each seed that has it."""
    if not isinstance(side, Figure) or side.defense not in settings:
        return {}
    results = settings[side.defense].by_seed
    found = {seed: _read(result, side) for seed, result in results.items()}
    return {seed: estimate for seed, estimate in found.items() if estimate and not math.isnan(estimate.value)}


def _read(result: Result, side: Figure) -> Estimate | None:
    if side.name in (expectation.COSINE, expectation.SAME_NEAREST):
        if (vectors := result.utility.vectors) is None:
            return None
        return vectors.cosine if side.name == expectation.COSINE else vectors.same_nearest
    if side.name == expectation.ACCURACY:
        return result.utility.accuracy
    if side.name == expectation.IDENTIFIED:
        by_attack = [found.top_1 for found in result.identification if found.label == side.attack]
        best = result.identified.top_1 if result.identified else None
        return max(by_attack, key=lambda share: share.value, default=None) if side.attack else best
    row = next((a for a in result.privacy if a.label == side.attack), None) if side.attack else result.worst_case
    if row is None:
        return None
    return row.leakage_gain if side.name == expectation.LEAKAGE else row.metrics.get(side.name)


def _scale(side: Figure) -> Scale:
    return {
        expectation.ACCURACY: ACCURACY,
        expectation.COSINE: COSINE,
        expectation.SAME_NEAREST: SAME_NEAREST,
        expectation.LEAKAGE: LEAKAGE_GAIN,
        expectation.IDENTIFIED: IDENTIFIED,
    }.get(side.name) or scale(side.name)


def _number(side: Figure | float) -> float:
    return math.nan if isinstance(side, Figure) else side
