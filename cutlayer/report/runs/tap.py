"""What attacks made of a recorded tap: a table for the terminal, and a page that shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from cutlayer.data.legend import Legend
from cutlayer.records.run import most_identified
from cutlayer.records.tap import TapRecord
from cutlayer.report.kit import markup
from cutlayer.report.kit.columns import WIDTH, columns, wrap
from cutlayer.report.kit.inputs import Inputs
from cutlayer.report.kit.kinds import kind_of
from cutlayer.report.kit.markup import Html, el, note, section
from cutlayer.report.kit.pictures import beside
from cutlayer.report.kit.wording import IDENTIFIED, LEAKAGE_GAIN, access_name, in_order, scale, where_attackers_sit
from cutlayer.report.runs.identified import every_way, how, too_few
from cutlayer.report.runs.tables import attack_table

SHOWN = {"image": 12, "tokens": 6, "table": 3}
"""Inputs that are shown, by their kind."""


def text(record: TapRecord) -> str:
    """The attacks with their figures, or their names alone where nothing could be scored; at most 120 columns."""
    metrics = {name: scale(name) for name in _metrics(record)}
    lines = [wrap(_subject(record)), *map(wrap, record.notes)]
    if record.attacks:
        head = ["ATTACK", "ACCESS", "RELEASES", "N", "LEAKAGE", *(metric.title.upper() for metric in metrics.values())]
        rows = [
            [
                attack.label, access_name(attack.access), str(attack.n_releases), str(attack.n),
                LEAKAGE_GAIN.value(attack.leakage_gain.value),
                *(metric.value(attack.metrics[name].value) for name, metric in metrics.items()),
            ]
            for attack in record.attacks
        ]  # fmt: skip
        lines.append("\n" + columns(head, rows, left=(0, 1), width=WIDTH, rule=True))
    lines += [wrap(found)] if (found := _identified(record)) else []
    lines += [wrap(f"{attack.label} failed: {attack.reason}", indent="  ") for attack in record.failed]
    return "\n".join(lines) + "\n"


def page(record: TapRecord, originals: NDArray[Any] | None, rebuilt: Mapping[str, NDArray[Any]], legend: Legend) -> str:
    """The same with what was rebuilt, as a page that needs nothing but itself.

    Args:
        record: What was attacked, and the figures.
        originals: ``(N, *input.shape)``, the true inputs; None where they are unknown.
        rebuilt: The reconstructions by the label of the attack, of the same shape.
        legend: What the numbers of an input stand for.
    """
    gains = {attack.label: LEAKAGE_GAIN.value(attack.leakage_gain.value) for attack in record.attacks}
    kind = kind_of(record.modality)
    rows = [] if originals is None else [_row("original", "", Inputs(record.modality, originals, legend=legend))]
    rows += [
        _row(label, gains.get(label, ""), Inputs(record.modality, made, originals, legend))
        for label, made in rebuilt.items()
    ]
    found = attack_table([(record.defense, "c0", record.attacks, record.failed, None)], _metrics(record))
    main = el(
        "main",
        el("header", el("p", "cutlayer", class_="product"), el("h1", "What does this tap give away?")),
        section("What was attacked", note(_subject(record)), [note(text) for text in record.notes]),
        section(
            f"Every attack, {kind.shown}",
            note(kind.reading) if kind.reading and originals is not None else None,
            el("div", rows, class_="blocks" if record.modality == "image" else None),
        )
        if any(rows)
        else None,
        section("Every attack, in numbers", found) if record.attacks or record.failed else None,
        section("Which input was it?", note(who), every_way([(record.defense, "c0", record.identification)], kind))
        if (who := _identified(record))
        else None,
    )
    return markup.page("cutlayer: what does this tap give away?", main)


def _identified(record: TapRecord) -> str:
    """How often the best attack picks the input that was sent, in sentences; empty where nothing was scored."""
    found = most_identified(record.identification)
    if found is None:
        return ""
    kind = kind_of(record.modality)
    return (
        f"Identified: {IDENTIFIED.value(found.top_1.value)} ({IDENTIFIED.interval(found.top_1)}) of {found.top_1.n:,} "
        f"inputs are picked from {found.candidates:,} candidates, by {how(found, kind)}: the attack that does it best, "
        "of those that encode the candidates with the device's own half (watch list) and those whose reconstruction is "
        f"compared with them {kind.compared}.{too_few(found.candidates)}"
    )


def _metrics(record: TapRecord) -> list[str]:
    return in_order({name for attack in record.attacks for name in attack.metrics})


def _subject(record: TapRecord) -> str:
    releases = f", {record.n_releases} releases of each" if record.n_releases > 1 else ""
    sits = where_attackers_sit(record.vantage, record.access, record.n_releases, kind_of(record.modality).one)
    return (
        f"{record.n:,} inputs{releases}, that were sent to {record.model} (version {record.version}) with the defense "
        f"{record.defense} in the codec {record.codec}. {sits} The "
        f"attacker holds the auxiliary part of {record.data}."
    )


def _row(label: str, about: str, inputs: Inputs) -> Html | None:
    """The first inputs beside a name; nothing for inputs that cannot be shown."""
    if not inputs.drawable:
        return None
    first = range(min(len(inputs.values), SHOWN[inputs.modality]))
    return beside(label, about, inputs.drawn(first, f"{label}: the first inputs of the tap"))
