"""The terminal's summary at the end of a run: plain text, at most 120 columns."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from cutlayer.records.reading import Run
from cutlayer.records.run import Flag, Published, Result
from cutlayer.report.kit.columns import WIDTH, columns, wrap
from cutlayer.report.kit.wording import (
    IDENTIFIED,
    LEAKAGE_GAIN,
    access_name,
    duration,
    scale,
    size,
    where_attackers_sit,
)
from cutlayer.report.runs import by_column, ceilings, conditions, probes, usefulness
from cutlayer.report.runs.claims import claims, verdict
from cutlayer.report.runs.groups import Group, group
from cutlayer.report.runs.identified import about, among, how
from cutlayer.report.runs.matrix import leaked_by, most

_table = partial(columns, width=WIDTH, rule=True)
STAGES = ("head", "protect", "network", "tail")


def text(results: Iterable[Result]) -> str:
    """The headline, leakage by attack, time and red flags of the results."""
    return "\n\n".join(map(_group, group([Run(result) for result in results]))) + "\n"


def _group(group: Group) -> str:
    if group.is_sweep:
        return "\n\n".join(
            [_title(group), _sweep(group), *_claims(group), *filter(None, [_probes(group)]), _flag_counts(group)]
        )
    parts = [
        _title(group),
        _headline(group),
        *_claims(group),
        _vantage(group),
        *_attacks(group),
        _columns(group),
        _ceilings(group),
        _probes(group),
        _time(group),
        _published(group),
        _flags(group),
    ]
    return "\n\n".join(part for part in parts if part)


def _title(group: Group) -> str:
    title = f"{group.title}: {group.sends} leave the device for each {group.kind.one}"
    return wrap(title) + "\n" + "=" * min(WIDTH, len(title))


def _headline(group: Group) -> str:
    kind = group.kind
    scales = {name: scale(name) for name in group.headline_metrics}
    bounded = ceilings.any_known(group)
    useful = usefulness.of(group)
    head = ["DEFENSE", useful.scale.title.upper(), _title_beside(useful), "WORST", "LEAKAGE", *["CEILING"][:bounded]]
    head += ["IDENTIFIED", *(metric.title.upper() for metric in scales.values()), "P50", "SENT"]
    rows = []
    for setting in group.settings:
        cells = [setting.label, useful.scale.value(setting.usefulness.value), usefulness.in_a_cell(setting)]
        cells.append(setting.attackers)
        cells += [
            LEAKAGE_GAIN.value(setting.leakage.value),
            *[ceilings.beside_worst(setting, ceilings.WHOLE)][:bounded],
        ]
        cells.append(IDENTIFIED.value(setting.identified.value))
        cells += [metric.value(setting.metric(name).value) for name, metric in scales.items()]
        rows.append([*cells, duration(setting.time_ns()), size(setting.sent_bytes())])
    legend = _about_answers(group)
    legend += f"Leakage: 0 % is an attacker who guesses {kind.guess}, 100 % {kind.exact}."
    legend += f" {about(group)}"
    legend += "".join(f" {m.title}: {kind.told(m.explanation)}" for m in scales.values() if m.explanation)
    legend += _about_ceiling(group)
    return _table(head, rows, left=(0, 3)) + "\n" + wrap(legend)


def _about_answers(group: Group) -> str:
    """What the two columns about the answers say."""
    over, n = _over_seeds(group), group.first.result.utility.figure.n
    if usefulness.of(group) is usefulness.OF_VECTORS:
        return f"{usefulness.explained(group, over)} "
    return (
        f"Accuracy: the share of right answers, of {n:,} test {group.kind.samples}{over}. Change: that share less "
        "the one without a defense, in percentage points; in brackets where it is not told apart from none. "
    )


def _about_ceiling(group: Group) -> str:
    """What the column says, and what it assumes; empty where there is no such column."""
    if not ceilings.any_known(group):
        return ""
    return (
        f" Ceiling: no attacker identifies more {group.kind.many} (first figure, %) or has a greater leakage gain "
        f"(second) from as many releases as the worst attack; none: no noise is added. {ceilings.assumed_of(group)}"
    )


def _ceilings(group: Group) -> str:
    """The ceiling by the number of releases."""
    numbers = ceilings.releases(group)
    head = ["CEILING: IDENTIFIED / LEAKAGE, %", *(f"{n} RELEASE{'S'[: n > 1]}" for n in numbers), "GONE AFTER"]
    found = [[setting.label, *cells] for setting, cells in ceilings.rows(group)]
    return _table(head, found) if numbers else ""


def _probes(group: Group) -> str:
    """What else the smashed data tells."""
    pairs = probes.found(group)
    head = ["PROBE", "DEFENSE", *map(str.upper, probes.HEAD)]
    rows = [
        [probes.named(record), member.label, *(text for text, _ in probes.cells(record))] for member, record in pairs
    ]
    return _table(head, rows, left=(0, 1)) + "\n" + wrap(probes.about(group.kind)) if pairs else ""


def _claims(group: Group) -> list[str]:
    """What each plan claims, and whether the table supports it."""
    parts = []
    for (claim, expected), judged in claims(group).items():
        lines = [wrap(f"The plan claims: {claim}")] if claim else []
        lines.append(wrap(verdict(judged)))
        for text, (found, figures) in zip(expected, judged, strict=True):
            lines.append(wrap(f"  {found}: {text} ({figures})", indent="    "))
        parts.append("\n".join(lines))
    return parts


def _title_beside(useful: usefulness.Usefulness) -> str:
    """The title of the figure beside; the unit of a change is in the legend."""
    title, unit = useful.beside
    return title.upper() if useful is usefulness.OF_CLASSES else f"{title}, {unit}".upper()


def _over_seeds(group: Group) -> str:
    return f", mean over the seeds {', '.join(map(str, group.seeds))}" if len(group.seeds) > 1 else ""


def _sweep(group: Group) -> str:
    """One line for each defense and strength."""
    kind = group.kind
    scales = {name: scale(name) for name in group.headline_metrics}
    bounded = ceilings.any_known(group)
    useful = usefulness.of(group)
    head = ["DEFENSE", useful.scale.title.upper(), _title_beside(useful), "WORST", "LEAKAGE", *["CEILING"][:bounded]]
    head += ["IDENTIFIED", *(metric.title.upper() for metric in scales.values()), "PROTECT", "TENSOR"]
    rows = []
    for s in group.settings:
        cells = [s.label, useful.scale.value(s.usefulness.value), usefulness.in_a_cell(s), s.attackers]
        cells += [LEAKAGE_GAIN.value(s.leakage.value), *[ceilings.beside_worst(s, ceilings.WHOLE)][:bounded]]
        cells.append(IDENTIFIED.value(s.identified.value))
        cells += [metric.value(s.metric(name).value) for name, metric in scales.items()]
        rows.append([*cells, duration(s.time_ns(stage="protect")), size(s.tensor_bytes)])
    legend = _about_answers(group) + "Leakage: that of the worst attack; 0 % is "
    legend += f"{kind.guess}, 100 % {kind.exact}. {about(group)} Protect: the time of the defense on the device, p50."
    legend += _about_ceiling(group)
    return _table(head, rows, left=(0, 3)) + "\n" + wrap(legend)


def _flag_counts(group: Group) -> str:
    """How many runs raised each kind of flag; the report has the sentences."""
    counts = Counter(flag.flag for member in group.members for flag in member.run.result.flags)
    counts.update(flag.flag for flag in conditions.flags(group))
    named = ", ".join(f"{kind} ({n})" for kind, n in counts.most_common())
    return wrap(f"Red flags: {named}; see the report.") if named else "No red flags."


def _attacks(group: Group) -> list[str]:
    """Leakage gain of each attack under each defense, where it gets most, and what share it identifies."""
    of_settings = [setting.attacks for setting in group.settings]
    failed = [setting.failed for setting in group.settings]
    attacks = {a.label: access_name(a.access) for rows in of_settings for a in rows}
    attacks |= {a.label: access_name(a.access) for entries in failed for a in entries.values()}
    gains = [
        {label: LEAKAGE_GAIN.value(gain.value) for label, gain in leaked_by(setting).items()}
        for setting in group.settings
    ]
    cells = [dict.fromkeys(names, "failed") | found for names, found in zip(failed, gains, strict=True)]
    listed = [setting.identification for setting in group.settings]
    shares = [
        {
            way: IDENTIFIED.value(top_1.value)
            for way, top_1 in most((how(f, group.kind), f.top_1) for f in found).items()
        }
        for found in listed
    ]
    ways = {how(f, group.kind): access_name(f.access) for found in listed for f in found}
    several = any(len(setting.deployments) > 1 for setting in group.settings)
    return [
        *_by_attack("LEAKAGE BY ATTACK", attacks, cells, group),
        *_by_attack(f"IDENTIFIED AMONG {among(group).upper()}", ways, shares, group),
        *[wrap("Of several deployments, each figure of an attack is that of the deployment where it gets most.")][
            :several
        ],
    ]


def _by_attack(title: str, attacks: Mapping[str, str], cells: Sequence[Mapping[str, str]], group: Group) -> list[str]:
    """A row for each attack with its access, and a column for each defense; three defenses in one table."""
    tables = []
    for start in range(0, len(cells) if attacks else 0, 3):
        part = slice(start, start + 3)
        head = [title, "ACCESS", *(s.label for s in group.settings[part])]
        rows = [
            [label, access, *(by_attack.get(label, LEAKAGE_GAIN.value(math.nan)) for by_attack in cells[part])]
            for label, access in attacks.items()
        ]
        tables.append(_table(head, rows, left=(0, 1)))
    return tables


def _columns(group: Group) -> str:
    """How often each column of a table is read, beside a guess without seeing."""
    settings = by_column.with_columns(group)
    head = ["COLUMNS READ", "GUESSED", *(setting.label for setting in settings)]
    rows = [
        [name, *(by_column.SHARE.value(share) for share in (guessed, *(of.right.value for of in records)))]
        for name, guessed, records in by_column.lines(settings)
    ]
    return _table(head, rows) + "\n" + wrap(by_column.ABOUT) if rows else ""


def _time(group: Group) -> str:
    head = [f"TIME PER {group.kind.one.upper()}", "DEFENSE", *map(str.upper, STAGES), "END TO END P50", "P95", "N"]
    rows = []
    for setting in group.settings:
        for name in setting.deployments:
            medians = [setting.time_ns(name, stage) for stage in STAGES]
            times = [*medians, setting.time_ns(name), setting.time_ns(name, percentile="p95")]
            rows.append([name, setting.label, *map(duration, times), f"{sum(c.n for c in setting.costs(name)):,}"])
    note = "The rows were timed one after the other: a difference may be that of the machine's other work. What a "
    note += "defense takes is PROTECT, and HEAD where it changed the head."
    return _table(head, rows, left=(0, 1)) + "\n" + wrap(note) if rows else ""


def _published(group: Group) -> str:
    head, rows = ["BESIDE THE PAPER", "DEFENSE", "METRIC", "OURS", "PUBLISHED", "SOURCE"], []
    for setting, attack in ((s, a) for s in group.settings for a in s.attacks):
        stated = attack.published or Published(values={}, source="")
        for name in filter(attack.metrics.__contains__, stated.values):
            metric = scale(name)
            numbers = metric.number(attack.metrics[name].value), metric.number(stated.values[name])
            rows.append([attack.label, setting.label, metric.heading, *numbers, stated.source])
    return _table(head, rows, left=(0, 1, 2, 5)) if rows else ""


def _vantage(group: Group) -> str:
    """Where the attackers sit, where that is no server that is granted everything."""
    result = group.first.result
    if (result.vantage, result.access) == ("cloud", "WHITE_BOX"):
        return ""
    return wrap(where_attackers_sit(result.vantage, result.access, result.servers, group.kind.one))


def _flags(group: Group) -> str:
    raised: dict[Flag, list[str]] = {flag: [] for flag in conditions.flags(group)}
    for member in group.members:
        for flag in member.run.result.flags:
            raised.setdefault(flag, []).append(member.label)
    lines = [wrap(f"! {flag.flag}{_of(labels)}: {flag.text}", indent="  ") for flag, labels in raised.items()]
    return "\n".join(["RED FLAGS: the evaluation itself is suspect", *lines]) if lines else "No red flags."


def _of(labels: list[str]) -> str:
    return f" ({', '.join(labels)})" if labels else ""
