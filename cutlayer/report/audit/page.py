"""The page of an audit: the verdict first, then who gets what, what nobody exceeds, and what was not tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from numpy.typing import NDArray

from cutlayer.data.legend import Legend
from cutlayer.machine.command import command_line
from cutlayer.progress import words
from cutlayer.records.audit import ACCESSES, BUDGET, RECORDED, AuditRecord, NotTried
from cutlayer.records.run import LEAST_CANDIDATES, Estimate
from cutlayer.report.audit import aisvs
from cutlayer.report.audit.aisvs import Requirement
from cutlayer.report.audit.useful import useful
from cutlayer.report.audit.verdict import no_ceiling, numbers_sent, ran, untried
from cutlayer.report.kit import markup
from cutlayer.report.kit.inputs import Inputs
from cutlayer.report.kit.kinds import INPUT, PICTURE, kind_of
from cutlayer.report.kit.markup import Html, el, note, row, section, small, table
from cutlayer.report.kit.pictures import beside
from cutlayer.report.kit.wording import (
    ACCESS,
    DASH,
    IDENTIFIED,
    LEAKAGE_GAIN,
    Scale,
    access_name,
    ceiling_assumes,
    facts,
    in_order,
    scale,
    size,
)
from cutlayer.report.runs.ceilings import both, gone
from cutlayer.report.runs.identified import every_way, how
from cutlayer.report.runs.tables import attack_table

SHOWN = {"image": 8, "tokens": 4, "table": 3}
"""Inputs that are shown, by their kind."""
FIGURES = ("psnr", "ssim", "token-accuracy", "exact", "columns-right", "rows-exact")
"""Metrics of the worst attack of each access, where the inputs have them."""


def page(
    record: AuditRecord, originals: NDArray[Any], rebuilt: Mapping[str, NDArray[Any]],
    recorded: Mapping[str, NDArray[Any]], legend: Legend,
) -> str:  # fmt: skip
    """The page, which needs nothing but itself.

    Args:
        record: What the audit found.
        originals: ``(K, *input.shape)``, some of the true inputs.
        rebuilt: Reconstructions of the same by the title of the attack.
        recorded: Those of the first inputs of a tap whose truth is unknown; empty otherwise.
        legend: What the numbers of an input stand for.
    """
    shown = _Shown(record.modality, originals, rebuilt, recorded, legend)
    style = (files("cutlayer.report.audit") / "style.css").read_text(encoding="utf-8")
    main = el(
        "main",
        _opening(record),
        _flags(record),
        _conditions(record),
        _who_gets_what(record, shown),
        _of_the_tap(record, shown),
        _identified(record),
        _ceiling(record),
        _attacks(record),
        _not_tried(record),
        _aisvs(record),
        _made(record),
    )
    return markup.page("cutlayer: audit of a split model", main, style)


class _Shown:
    """The inputs and what was rebuilt of them."""

    def __init__(
        self, modality: str, originals: NDArray[Any], rebuilt: Mapping[str, NDArray[Any]],
        recorded: Mapping[str, NDArray[Any]], legend: Legend,
    ) -> None:  # fmt: skip
        self.originals, self.rebuilt, self.recorded = originals, rebuilt, recorded
        self._modality, self._legend = modality, legend

    def strip(
        self, inputs: NDArray[Any] | None, label: str, about: str, alt: str, truth: NDArray[Any] | None = None
    ) -> Html | None:
        """Inputs beside their name; None for those that cannot be shown."""
        shown = None if inputs is None else Inputs(self._modality, inputs, truth, self._legend)
        if shown is None or not shown.drawable:
            return None
        return beside(label, about, shown.drawn(range(min(len(shown.values), SHOWN[self._modality])), alt))


def _opening(record: AuditRecord) -> Html:
    worst, who = record.worst(), record.identifies()
    at, kind = record.ceiling.over(record.n_releases), kind_of(record.modality)
    name, value, about = useful(record)
    given = "foreign head" if record.foreign else "split"
    figures = [
        ("Worst leakage gain", LEAKAGE_GAIN.value(worst.leakage_gain.value) if worst else DASH,
         f"{worst.label}, {access_name(worst.access)}" if worst else "no attack had a figure"),
        ("Identified, at worst", IDENTIFIED.value(who.top_1.value) if who else DASH,
         f"of {who.candidates:,} candidates, by {how(who, kind)}" if who else "no attack had a figure"),
        ("Nobody exceeds", LEAKAGE_GAIN.value(at.leakage_gain.high) if at else "no ceiling",
         f"leakage gain, and {IDENTIFIED.value(at.identified.high)} identified, from {at.n_releases} "
         f"release{'s'[: at.n_releases > 1]}" if at else no_ceiling(record)),
        (f"{name} on what is sent", value or DASH, about),
    ]  # fmt: skip
    items = [el("div", el("dt", title), el("dd", value, small(about))) for title, value, about in figures]
    return el(
        "header",
        el("p", "cutlayer", class_="product"),
        el("h1", "Audit of a split model"),
        el("p", record.verdict, class_="verdict"),
        el("dl", items, class_="figures"),
        el("p", _subject(record, given), class_="note"),
    )


def _subject(record: AuditRecord, given: str) -> str:
    shape = "x".join(map(str, record.input))
    on = (
        "what a tap recorded, whose truth is at hand" if record.scored_on == RECORDED
        else "releases that the device's own pipeline gives for data of the kind"
    )  # fmt: skip
    releases = f", {record.n_releases} releases of each" if record.n_releases > 1 else ""
    stated = f" It states: {facts(record.defense_facts)}." if record.defense_facts else ""
    version = f" (version {record.version})" if record.version else ""
    return (
        f"Audited: the {given} {record.model}{version}, which sends {numbers_sent(record)} for "
        f"each input of {shape}, with {_defense(record)} and the codec {record.codec}.{stated} "
        f"{record.n:,} inputs were attacked{releases}: {on}. The attackers hold {record.auxiliary:,} inputs of "
        f"{record.data}. The attacker is the server. {record.access_says}"
    )


def _defense(record: AuditRecord) -> str:
    return "no defense" if record.defense == "none" else f"the defense {record.defense}"


def _flags(record: AuditRecord) -> Html | None:
    """Signs that the audit itself is suspect, on top."""
    if not record.flags:
        return None
    items = [el("li", el("b", flag.flag), el("p", flag.text)) for flag in record.flags]
    return section("Red flags", note("They say that the audit itself is suspect."), el("ul", items, class_="flags"))


def _conditions(record: AuditRecord) -> Html | None:
    if not record.conditions:
        return None
    items = [
        el("li", el("b", "FAIL: " if entry.broken else "ok: ", class_="broken" if entry.broken else None), entry.says)
        for entry in record.conditions
    ]
    return section("The conditions of --fail-if", el("ul", items, class_="plain"), id="conditions")


def _who_gets_what(record: AuditRecord, shown: _Shown) -> Html:
    metrics = [name for name in FIGURES if any(name in row.metrics for row in record.attacks)]
    head = ["The attacker", "Worst attack", LEAKAGE_GAIN.heading, *(scale(name).heading for name in metrics)]
    head += [IDENTIFIED.heading, "By", "Attacks"]
    rows = [_access_row(record, access, metrics) for access in ACCESSES]
    best = dict.fromkeys(
        worst.label for access in ACCESSES if (worst := record.worst(access)) and not untried(record, access)
    )
    strips = [shown.strip(shown.originals, "true", "what the device saw", "The true inputs with most contrast")]
    for label in best:
        found = next(attack for attack in record.attacks if attack.label == label)
        about = f"{access_name(found.access)}, {LEAKAGE_GAIN.value(found.leakage_gain.value)}"
        strips.append(
            shown.strip(
                shown.rebuilt.get(label), label, about, f"{label}: what it rebuilt of these inputs", shown.originals
            )
        )
    pictures = [picture for picture in strips if picture is not None]
    kind = kind_of(record.modality)
    told, reading = INPUT if kind is PICTURE else kind, kind.reading
    return section(
        "What an attacker with which access gets",
        note(
            "An attacker with more access may also run what needs less, so that each line holds for all attacks up to "
            "it. "
            "0 % leakage is what an attacker reaches who always guesses "
            f"{told.guess}; 100 % is {told.exact}. "
            "Identified is how often the input that was sent is picked from all candidates. Small figures are 95 % "
            "intervals."
        ),
        table("The worst case by access", head, [el("tbody", rows)], "headline"),
        _strips("True inputs, and what the worst attack of each access rebuilt of them", pictures)
        if pictures[1:]
        else None,
        note(reading) if reading and pictures[1:] else None,
        id="access",
    )  # fmt: skip


def _strips(title: str, pictures: Sequence[Html]) -> Html:
    return el("figure", el("figcaption", title), pictures, class_="strips")


def _access_row(record: AuditRecord, access: str, metrics: Sequence[str]) -> Html:
    name, meaning = ACCESS[access]
    heading = el("th", name, small(meaning.format(many=kind_of(record.modality).many)), scope="row", class_="who")
    if why := untried(record, access):
        weaker = [less for less in ACCESSES[: ACCESSES.index(access)] if ran(record, less)]
        gets = f"{access_name(weaker[-1])} access" if weaker else "guessing the average input"
        reached = f"{'not tried' if why == BUDGET else 'not possible here'}: at least what {gets} gets"
        return row(heading, [el("td", el("div", reached), colspan=5 + len(metrics), data_label="All figures")])
    worst, who = record.worst(access), record.identifies(access)
    rows, found = record.within(access)
    n, of_it = len({one.label for one in rows} | {one.label for one in found}), len(ran(record, access))
    return row(heading, [
        _cell("Worst attack", worst.label if worst else DASH),
        _measured(LEAKAGE_GAIN, worst.leakage_gain if worst else None),
        *(_measured(scale(metric), worst.metrics.get(metric) if worst else None) for metric in metrics),
        _measured(IDENTIFIED, who.top_1 if who else None),
        _cell("By", how(who, kind_of(record.modality)) if who else DASH),
        _cell("Attacks", n, small(f"{of_it or 'none'} of this access")),
    ])  # fmt: skip


def _measured(metric: Scale, estimate: Estimate | None) -> Html:
    """A value over its interval."""
    if estimate is None:
        return _cell(metric.heading, DASH)
    return _cell(metric.heading, metric.number(estimate.value), small(metric.interval(estimate)))


def _cell(label: str, *content: object) -> Html:
    """A cell with the title of its column, which a narrow screen shows beside it."""
    return el("td", el("div", content), data_label=label)


def _of_the_tap(record: AuditRecord, shown: _Shown) -> Html | None:
    """What was rebuilt of the inputs of a tap whose truth is unknown."""
    if record.tap is None:
        return None
    title, held = "The tap", f"Of the tap, {record.tap.n:,} inputs were attacked"
    held += f", {record.tap.n_releases} releases of each." if record.tap.n_releases > 1 else "."
    if record.tap.scored:
        return section(title, note(f"{held} The truth was at hand: all figures of this page are of them."), id="tap")
    rows = [
        shown.strip(images, label, "not scored", f"{label}: what it rebuilt of the first inputs of the tap")
        for label, images in shown.recorded.items()
    ]
    pictures = [picture for picture in rows if picture is not None]
    return section(
        title,
        note(
            f"{held} Without the truth (--truth), nothing says how near these {kind_of(record.modality).many} come to "
            "what was seen, and nothing can be identified. The figures of this page are of the same attacks, fitted "
            "alike, on simulated releases of data of the kind."
        ),
        _strips("What was rebuilt of the first inputs of the tap", pictures) if pictures else None,
        id="tap",
    )  # fmt: skip


def _identified(record: AuditRecord) -> Html:
    kind = kind_of(record.modality)
    who = record.identifies()
    text = (
        f"At worst, {IDENTIFIED.value(who.top_1.value)} ({IDENTIFIED.interval(who.top_1)}) of {who.top_1.n:,} inputs "
        f"are picked from {who.candidates:,} candidates, by {how(who, kind)}. A watch list encodes each candidate with "
        "the device's own half and takes the one that fits; other attacks compare their reconstruction with the "
        f"candidates {kind.compared}. Who can be identified has been found out, however poor the reconstruction looks."
        if who
        else f"There is no figure: no attack was scored among at least {LEAST_CANDIDATES} candidates."
    )
    return section(
        "Which input was it?",
        note(text),
        every_way([(record.defense, "c0", record.identification)], kind),
        id="identified",
    )


def _ceiling(record: AuditRecord) -> Html:
    bound = record.ceiling
    if not bound.at:
        return section("What no attacker exceeds", note(f"There is no ceiling: {no_ceiling(record)}."), id="ceiling")
    head = [*(f"{at.n_releases} release{'s'[: at.n_releases > 1]}" for at in bound.at), "Gone after"]
    cells = [*map(both, bound.at), gone(bound)]
    text = (
        "The best possible attacker is computed, who holds the device's half, the defense and all candidates. Each "
        "cell says how often the true input is found, and the leakage gain, in percent. "
        f"{ceiling_assumes([bound.candidates])} Gone after: releases of one input after which it is found in 95 % of "
        "cases."
    )
    return section(
        "What no attacker exceeds", note(text),
        table("What no attacker exceeds", ["Identified / leakage gain", *head],
              [el("tbody", row(record.defense, cells))], "numbers"),
        id="ceiling",
    )  # fmt: skip


def _attacks(record: AuditRecord) -> Html:
    metrics = in_order({name for attack in record.attacks for name in attack.metrics if name != "identification"})
    return section(
        "Every attack, in numbers",
        note(
            f"In the order in which they ran, cheapest first, within a budget of {words(record.budget_s)}, of which "
            f"{words(record.spent_s)} were taken. Last: the time to fit an attack, and to rebuild all inputs."
        ),
        attack_table([(record.defense, "c0", record.attacks, record.failed, None)], metrics),
        id="attacks",
    )


def _not_tried(record: AuditRecord) -> Html:
    rows = [_not_tried_row(entry) for entry in record.not_tried]
    explained = note(
        "Each attack of cutlayer that did not run, with the reason. What they would have found is not known. Nor was "
        "anything tried against the connection, the two machines, the training of the model, or its answers."
    )
    body = table("What was not tried", ["Attack", "Access", "Why", "Reason"], [el("tbody", rows)], "reasons")
    return section(
        "What was not tried", explained, body if rows else note("Every attack of cutlayer ran."), id="not-tried"
    )


def _not_tried_row(entry: NotTried) -> Html:
    cells = [("Access", access_name(entry.access)), ("Why", entry.why), ("Reason", entry.reason)]
    return row(entry.label, [_cell(*cell) for cell in cells])


def _aisvs(record: AuditRecord) -> Html:
    head = ["Requirement", "It asks", "This audit", "Figures"]
    drafted = note(
        "Drafts before version 1.0 had a section C12.6 on federated learning with privacy controls, which version 1.0 "
        "does not have. It is answered here for those who still work with a draft."
    )
    return section(
        f"For the auditor: OWASP AISVS {aisvs.VERSION}, one by one",
        note(aisvs.FOREWORD),
        table(f"Requirements of the OWASP AISVS, version {aisvs.VERSION}", head,
              [el("tbody", [_requirement(entry, record) for entry in aisvs.REQUIREMENTS])], "aisvs"),
        drafted,
        table("Requirements of a draft before version 1.0", head,
              [el("tbody", [_requirement(entry, record) for entry in aisvs.DRAFTED])], "aisvs"),
        el("p", "Source: OWASP AISVS, ", el("a", aisvs.SOURCE, href=aisvs.SOURCE),
           ", CC BY-SA 4.0, in our words.", class_="note"),
        id="aisvs",
    )  # fmt: skip


def _requirement(entry: Requirement, record: AuditRecord) -> Html:
    answer = entry.answer(record)
    links = [el("div", el("a", text, href=f"#{anchor}")) for anchor, text in answer.links]
    return row(
        el("th", entry.number, small(f"level {entry.level}"), scope="row"),
        [
            _cell("It asks", entry.asks),
            _cell("This audit", el("b", answer.state), ". ", _with_code(answer.text)),
            _cell("Figures", links or DASH),
        ],
    )


def _with_code(text: str) -> list[object]:
    """A text in which what stands between backticks is code."""
    return [el("code", part) if place % 2 else part for place, part in enumerate(text.split("`"))]


def _made(record: AuditRecord) -> Html:
    hashes = [
        row(name, [kind, el("td", el("code", digest))]) for kind, of in record.hashes.items()
        for name, digest in of.items()
    ]  # fmt: skip
    env = [
        row(key.removesuffix("_bytes"), [el("td", _value(key, value))])
        for key, value in record.env.items() if key != "command"
    ]  # fmt: skip
    command = command_line(record.env)
    return section(
        "What was audited, and how",
        el("p", "Made by ", el("code", command), class_="command") if command else None,
        [note(text) for text in record.notes],
        table("SHA-256 of everything", ["File or part", "Of", "SHA-256"], [el("tbody", hashes)], "hash"),
        table("Code, packages and machine", ["Item", "Value"], [el("tbody", env)], "environment"),
        id="hashes",
    )


def _value(key: str, value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value(name, entry)}" for name, entry in value.items())
    if key.endswith("_bytes") and isinstance(value, int):
        return size(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
