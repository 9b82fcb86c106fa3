"""The part of the report on what updates give away: each defense with its worst attacker, and every attack on each."""

from __future__ import annotations

from cutlayer.data.legend import Legend, read_legend
from cutlayer.data.modality import TABLE, TOKENS
from cutlayer.records import gradients as records
from cutlayer.records.gradients import UpdateRecord
from cutlayer.records.run import Estimate
from cutlayer.report.gradients.groups import Cell, Group, Where, where_text
from cutlayer.report.gradients.terminal import SHARE, SMASHED
from cutlayer.report.kit.inputs import Inputs
from cutlayer.report.kit.markup import Html, el, note, row, section, small, table
from cutlayer.report.kit.pictures import beside
from cutlayer.report.kit.wording import ACCURACY, DASH, LEAKAGE_GAIN, defense_name, scale

REBUILT = 0.5
"""Share of samples above 25 dB, or of rows that are right throughout, from which a defense counts as broken."""


def article(group: Group) -> Html:
    """All that is shown of one study."""
    title = el("p", f"Updates: {group.title}", class_="split")
    matrices = [_matrix(group, place, open=k == 0) for k, place in enumerate(group.places)]
    parts = [_worst(group), _pictures(group), section("Every attack on every defense", matrices), _published(group)]
    return el("article", title, [*parts, _failed(group)], id=group.anchor)


def _worst(group: Group) -> Html:
    """The headline: each defense with its worst attacker, for each kind of update."""
    claims = list(dict.fromkeys(r.claim.strip() for r in group.records if r.claim))
    head = ["Defense", *(where_text(place).capitalize() for place in group.places)]
    rows = [
        row(_named(group, defense), [_worst_cell(group, defense, place) for place in group.places])
        for defense in group.defenses
    ]
    floors = [
        row(
            el("th", floor.capitalize(), small("a floor, no attack"), scope="row"),
            [_figures(group.cell("none", floor, place, floor=True)) for place in group.places],
        )
        for floor in group.floors
    ]
    accuracies = {(r.epochs, r.defense_label): r.accuracy for r in group.records if r.accuracy is not None}
    trained = [found for (_, label), found in sorted(accuracies.items()) if label == "none"]
    seeds = sorted({r.seed for r in group.records})
    said = f" Means over the seeds {', '.join(map(str, seeds))}." if len(seeds) > 1 else ""
    said += (
        f" Accuracy of the models: {', '.join(ACCURACY.value(found.value) for found in trained)}." if trained else ""
    )
    return section(
        "What the worst attacker rebuilds from updates",
        [el("p", claim, class_="claim") for claim in claims],
        table("Each defense with its worst attacker", head, [el("tbody", rows), el("tbody", floors)], "numbers"),
        el("p", SMASHED, class_="claim"),
        note(
            f"The attack that rebuilds most samples {_right(group)}, and of equal "
            f"ones that with the greatest leakage gain. The gain is 0 % for {_floor(group)} and "
            f"100 % for the exact sample; below it {_below(group)}, and the attack. B is the number of samples of one "
            "update. Each found sample is paired with one true sample, once for all figures. Attackers know the "
            "defense unless their name says otherwise. A defense is marked as broken where half of the samples of B 1 "
            f"are rebuilt.{said}"
        ),
    )


def _right(group: Group) -> str:
    return {TABLE.name: "right in every column", TOKENS: "right in every token"}.get(group.kind, "above 25 dB")


def _floor(group: Group) -> str:
    return "the most frequent token in each place" if group.kind == TOKENS else "the mean of the attacker's own samples"


def _below(group: Group) -> str:
    if group.kind == TOKENS:
        return "the share of tokens that are right and of sentences that are right throughout"
    if group.kind == TABLE.name:
        return "the share of columns that are right and of rows that are right throughout"
    return "its mean PSNR and the share of samples above 25 dB"


def _named(group: Group, defense: str) -> Html:
    singles = [place for place in group.places if place[2] == 1 and not place[1]]
    broken = any((cell := group.worst(defense, place)) is not None and cell.rebuilt >= REBUILT for place in singles)
    badge = el("span", "broken", class_="badge") if broken and defense != "none" else None
    return el("th", defense_name(defense), badge, scope="row")


def _worst_cell(group: Group, defense: str, place: Where) -> Html:
    cell = group.worst(defense, place)
    return _figures(cell, cell.first.label if cell else "")


def _figures(cell: Cell | None, label: str = "") -> Html:
    """The gain, the figures below it, and a last line."""
    if cell is None or (gain := cell.gain) is None:
        return el("td", DASH)
    lines = [small(text) for text in (_numbers(cell), _used(cell)) if text]
    return el("td", LEAKAGE_GAIN.value(gain.value), lines, el("small", label, class_="wraps") if label else None)


def _numbers(cell: Cell) -> str:
    if (tokens := cell.metric("token-accuracy")) is not None:
        return f"{SHARE.value(tokens.value)} of tokens, {_share(cell.metric('exact'))} of sentences"
    if (columns := cell.metric("features")) is not None:
        return f"{SHARE.value(columns.value)} of columns, {_share(cell.metric('exact rows'))} of rows"
    return f"{_psnr(cell.metric('psnr'))}, {_share(cell.metric('rebuilt'))} > 25 dB"


def _psnr(found: Estimate | None) -> str:
    if found is None:
        return DASH
    if not found.n and found.infinite:
        return "exact"
    return scale("psnr").value(found.value)


def _share(found: Estimate | None) -> str:
    return DASH if found is None else SHARE.value(found.value)


def _used(cell: Cell) -> str:
    """Against the samples that the defense has put in place of the client's own."""
    found = cell.metric("psnr", used=True)
    return f"{_psnr(found)} to what was trained on" if found is not None else ""


def _matrix(group: Group, place: Where, *, open: bool) -> Html | None:
    """Every attack on every defense, for one kind of update."""
    met = [a for a in group.attacks if any(group.cell(d, a, place) for d in group.defenses)]
    floors = [f for f in group.floors if any(group.cell(d, f, place, floor=True) for d in group.defenses)]
    if not met:
        return None
    rows = []
    for defense in group.defenses:
        cells = [_figures(group.cell(defense, attack, place)) for attack in met]
        cells += [_figures(group.cell(defense, floor, place, floor=True)) for floor in floors]
        rows.append(row(defense_name(defense), cells))
    head = ["Defense", *met, *floors]
    title = where_text(place)
    content = table(f"Attacks on updates with {title}", head, [el("tbody", rows)], "numbers")
    return el("details", el("summary", title.capitalize()), content, open=open)


def _pictures(group: Group) -> Html | None:
    """What the worst attacker of each defense makes of the first samples of single updates."""
    place = next((place for place in group.places if place[2] == 1), group.places[0])
    drawn, original = list[Html](), None
    for defense in group.defenses:
        cell = group.worst(defense, place)
        kept = records.pictures(group.folder, cell.first) if cell is not None and group.folder is not None else {}
        if cell is None or not {"originals", "rebuilt"} <= kept.keys():
            continue
        legend = read_legend(kept["legend"].tobytes().decode(errors="replace")) if "legend" in kept else Legend()
        truth = Inputs(group.kind, kept["originals"], legend=legend)
        rebuilt = Inputs(group.kind, kept["rebuilt"], kept["originals"], legend)
        if not (truth.drawable and rebuilt.drawable):
            continue
        every = range(len(truth.values))
        if original is None:
            original = beside("the clients' samples", "", truth.drawn(every, "Originals"))
        alt = f"What {cell.first.label} rebuilds of updates with {defense}"
        drawn.append(beside(defense_name(defense), cell.first.label, rebuilt.drawn(every, alt)))
    if original is None:
        return None
    return section(f"What that looks like: {where_text(place)}", original, drawn)


def _published(group: Group) -> Html | None:
    """Our figures beside those of the literature."""
    rows = []
    for place in group.places:
        for label in (*group.attacks, *group.floors):
            for defense in group.defenses:
                cell = group.cell(defense, label, place)
                if cell is None or cell.first.published is None:
                    continue
                for name, value in cell.first.published.values.items():
                    ours, words = cell.metric(name), scale(name) if name in ("psnr", "ssim", "mse") else SHARE
                    cells = [where_text(place), defense_name(defense), words.heading]
                    cells += [words.value(ours.value) if ours else DASH, words.value(value)]
                    rows.append(row(label, [*cells, el("td", cell.first.published.source, class_="source")]))
    if not rows:
        return None
    head = ["Attack", "Update", "Defense", "Figure", "Here", "Published", "Source"]
    return section("Beside published values", table("Ours and published", head, [el("tbody", rows)]))


def _failed(group: Group) -> Html | None:
    reasons: dict[tuple[str, str], list[UpdateRecord]] = {}
    for record in group.records:
        if record.failed:
            reasons.setdefault((record.label, record.failed), []).append(record)
    items = [
        el("li", el("b", label), f" on {', '.join(dict.fromkeys(r.defense_label for r in found))}: {why}")
        for (label, why), found in reasons.items()
    ]
    return section("What could not be run, and why", el("ul", items, class_="plain")) if items else None


def names(group: Group) -> str:
    """How much there is, for the list of contents."""
    return f"{len(group.attacks)} attack{'s'[: len(group.attacks) != 1]}, {len(group.defenses)} defenses"


def opening() -> Html:
    """An introduction to what updates are, for a page that shows nothing else."""
    return el(
        "header",
        el("p", "cutlayer", class_="product"),
        el("h1", "What do model updates give away?"),
        el(
            "p",
            "Clients that train a model together send updates, gradients or changed weights, to a server that averages "
            "them. The samples stay with the clients, and yet an update is computed from them: a server that knows the "
            "model can often compute back.",
            class_="lead",
        ),
        el("p", "This page shows what published attacks rebuild from updates, and what defenses of updates change."),
    )
