"""What else the smashed data tells: the figures of the probes, beside those of who knows only the answer."""

from __future__ import annotations

from cutlayer.records.run import Estimate, ProbeRecord
from cutlayer.report.kit.comparison import sign
from cutlayer.report.kit.kinds import Kind
from cutlayer.report.kit.markup import Html, dot, el, note, row, section, small, table
from cutlayer.report.kit.wording import ACCURACY, DASH, Scale
from cutlayer.report.runs.groups import Group
from cutlayer.report.runs.settings import Member

TITLE = "What else the smashed data tells"
AUC = Scale("AUC")
HEAD = ("AUC", "Baseline", "Over it", "At 1 %", "At 0.1 %", "Right", "Answer")


def about(kind: Kind) -> str:
    """What the figures say, in sentences."""
    return (
        f"A probe infers a property of {kind.a} from what arrives, and rebuilds nothing. AUC: how often it puts "
        f"{kind.a} with the property before one without (0.5 is chance, 1 is always). The baseline knows only the "
        "answer of the server's half; what is over it is told by the smashed data beyond that answer, and what is in "
        f"brackets is not told apart from 0. Identity: whether two {kind.many} show the same person or photograph. "
        f"Membership: whether {kind.a} was trained on; its baseline is chance. At 1 %: the share of the positives that "
        "is found when 1 % of the negatives are taken for positives, where there are 100 negatives or more. Right: how "
        "often the class is inferred rightly, and the server's answer is (Answer). 95 % intervals by a bootstrap over "
        f"people or photographs where {kind.many} belong to one. The {kind.many} went through the device's own "
        "pipeline, and not over the socket."
    )


def found(group: Group) -> list[tuple[Member, ProbeRecord]]:
    """Every probe of every run, by what it looks for."""
    return sorted(
        ((member, record) for member in group.members for record in member.run.result.probes),
        key=lambda pair: (pair[1].target, pair[1].attribute, pair[1].how, pair[1].n_releases),
    )


def named(record: ProbeRecord) -> str:
    """What the probe looks for, and how."""
    sought = record.attribute or record.target
    several = f" x{record.n_releases}" if record.n_releases > 1 else ""
    return f"{sought}, {record.how}{several}"


def over(record: ProbeRecord) -> str:
    """The difference to the baseline, or that the two are not told apart."""
    value = f"{record.over_baseline.value:+.3f}".replace("-", "\N{MINUS SIGN}")
    return value if sign(record.over_baseline) else f"({value})"


def cells(record: ProbeRecord) -> list[tuple[str, Estimate | None]]:
    """The text of each column of `HEAD`, and the estimate behind it."""
    shares = (record.found_at_1_percent, record.found_at_01_percent, record.accuracy, record.baseline_accuracy)
    return [
        (AUC.number(record.auc.value), record.auc),
        (AUC.number(record.baseline.value), record.baseline),
        (over(record), record.over_baseline),
        *((ACCURACY.value(share.value) if share else DASH, share) for share in shares),
    ]


def probes(group: Group) -> Html | None:
    """The table of the page; None where no run has a probe."""
    pairs = found(group)
    if not pairs:
        return None
    rows = []
    for member, record in pairs:
        scales = [AUC, AUC, AUC, *[ACCURACY] * 4]
        values = [
            el("td", text, small(scale.interval(estimate)) if estimate else None)
            for scale, (text, estimate) in zip(scales, cells(record), strict=True)
        ]
        counted = el("td", f"{record.auc.n:,}", small(f"{record.pairs:,} pairs" if record.pairs else None))
        rows.append(
            row(el("th", named(record), scope="row"), [el("td", dot(member.color), member.label), counted, *values])
        )
    return section(
        TITLE, note(about(group.kind)), table(TITLE, ["Probe", "Defense", "n", *HEAD], [el("tbody", rows)], "numbers")
    )
