"""The part of the report on class-level inversion: pictures, every attack, questions, defenses, doubts."""

from __future__ import annotations

from cutlayer.records.class_level import CEILING
from cutlayer.records.run import Estimate
from cutlayer.report.class_level.charts import questions
from cutlayer.report.class_level.flags import ACCESSES, SHARE, flags
from cutlayer.report.class_level.groups import Cell, Group, Who, plain_words, who_text
from cutlayer.report.class_level.instances import rebuilt
from cutlayer.report.class_level.spread import spread
from cutlayer.report.class_level.story import pictures, recovered
from cutlayer.report.class_level.terminal import GAIN, share
from cutlayer.report.kit.comparison import mean
from cutlayer.report.kit.markup import Html, el, note, row, section, small, table
from cutlayer.report.kit.pictures import beside, strip
from cutlayer.report.kit.wording import ACCURACY, DASH, defense_name, seconds


def article(group: Group) -> Html:
    """All that is shown of one study."""
    title = el("p", f"Class-level inversion: {group.title}", class_="split")
    parts = [
        recovered(group),
        _doubts(group),
        _accuracy(group),
        _questions(group),
        _defenses(group),
        _pictures(group),
        rebuilt(group),
    ]
    return el("article", title, [*parts, _published(group), _judges(group), _failed(group)], id=group.anchor)


def _doubts(group: Group) -> Html | None:
    found = flags(group)
    return (
        section("What to be careful about", el("ul", [el("li", el("p", f)) for f in found], class_="flags"))
        if found
        else None
    )


def _accuracy(group: Group) -> Html | None:
    tables = [
        el("details", el("summary", who_text(who).capitalize()), _table(group, who), open=who == group.main)
        for who in group.victims
        if group.cells(who)
    ]
    if not tables:
        return None
    return section(
        "How often the judges recognize what an attack shows",
        tables,
        spread(group),
        note(
            "Both judges: both say the right class, of all classes, the attacker's among them; the figure to quote, "
            "with a 95 % interval over classes. First of five: the first judge has it among its five best guesses. "
            "Closed: the first judge may only say one of the victim's classes, as in most papers. Distance gain: 0 "
            "where the pictures are as far from the training samples as the attacker's own nearest ones, 1 where they "
            "are as near as real pictures of the class. Diversity: the mean distance of two pictures of a class, in "
            "relation to real ones. Given away: the classes of which both judges recognize more than half of the "
            "pictures, and below it the class of which they recognize least. Without a search: as many questions "
            "about pictures of the same prior, the best of which are shown."
        ),
    )


def _table(group: Group, who: Who) -> Html:
    head = ["", "Both judges", "First, second", "First of five", "Closed", "Distance gain", "Diversity", "Given away"]
    head += ["Questions for each class", "Without a search", "Time"]
    floors = [_row(cell) for cell in group.cells(who, floors=True)]
    attacks = sorted(group.cells(who), key=lambda cell: -cell.value("agreed"))
    return table(
        f"Attacks, {who_text(who)}", head, [el("tbody", floors), el("tbody", map(_row, attacks))], "numbers attacks"
    )


def _row(cell: Cell) -> Html:
    first, agreed = cell.first, cell.metric("agreed")
    kind = "the ceiling" if first.attack == CEILING else "a floor" if first.floor else f"gets {first.access}"
    below = f"{kind}: {plain_words(first.attack)}"
    own, real = cell.metric("diversity"), cell.metric("real diversity")
    return row(
        el("th", first.label, el("small", below, class_="wraps"), scope="row"),
        [
            el("td", share(agreed), small(SHARE.interval(agreed) or None) if agreed else None),
            f"{share(cell.metric('acc@1'))}, {share(cell.metric('second'))}",
            share(cell.metric("acc@5")),
            share(cell.metric("closed")),
            GAIN.value(gain.value) if (gain := cell.metric("distance gain")) else DASH,
            SHARE.value(own.value / real.value) if own and real and real.value else DASH,
            _given_away(cell),
            f"{cell.per_class:,.0f}" if cell.per_class else "none",
            share(cell.metric("agreed", sampled=True)),
            seconds(cell.seconds) if first.attack != CEILING else DASH,
        ],
    )


def _given_away(cell: Cell) -> Html | str:
    """The number of classes of which judges recognize most pictures, above the class of which they recognize least."""
    if (least := cell.worst) is None:
        return DASH
    return el("td", f"{cell.given_away} of {len(cell.by_class)}", small(f"{least[0]}: {SHARE.value(least[1])}"))


def _questions(group: Group) -> Html | None:
    chart = questions(group, group.main)
    return section("How much an attacker must ask", chart) if chart is not None else None


def _defenses(group: Group) -> Html | None:
    """Each victim with the worst attacker of each access."""
    if len(group.victims) < 2:
        return None
    known = [access for access in ACCESSES if any(group.worst(who, access) for who in group.victims)]
    rows = [
        row(_named(who), [_victims_accuracy(group, who), *(_worst(group.worst(who, access)) for access in known)])
        for who in group.victims
    ]
    head = ["Victim", "Accuracy of its answers", *(f"Worst attacker that gets {access}" for access in known)]
    return section(
        "What each defense leaves",
        table("Each victim with its worst attackers", head, [el("tbody", rows)], "numbers"),
        note(
            "Share of pictures that both judges recognize. A dash: no such attack was run, or none could be run, which "
            "says nothing of the defense. A defense of answers does not act on who holds the weights. "
            "A victim that has learned less gives less away: compare it with one of the same accuracy."
        ),
    )


def _named(who: Who) -> Html:
    epochs, defense = who
    return el("th", defense_name(defense), small(f"{epochs} epoch{'s'[: epochs != 1]}"), scope="row")


def _victims_accuracy(group: Group, who: Who) -> Html:
    found = mean(
        [r.accuracy for r in group.records if (r.epochs, r.defense_label) == who and r.accuracy is not None]
        or [Estimate(float("nan"), 0, float("nan"), float("nan"))]
    )
    return el("td", ACCURACY.value(found.value), small(ACCURACY.interval(found) or None))


def _worst(cell: Cell | None) -> Html:
    if cell is None or (agreed := cell.metric("agreed")) is None:
        return el("td", DASH)
    return el("td", share(agreed), small(SHARE.interval(agreed) or None), el("small", cell.first.label, class_="wraps"))


def _pictures(group: Group) -> Html | None:
    """The first pictures of every attack on the first victim, and of the worst attack on each other."""
    drawn = [_strip(group, cell, cell.first.label, share(cell.metric("agreed"))) for cell in _by_success(group)]
    for who in group.victims[1:]:
        cell = group.worst(who)
        if cell is not None:
            drawn.append(_strip(group, cell, who_text(who), f"{cell.first.label}, {share(cell.metric('agreed'))}"))
    shown = [picture for picture in drawn if picture is not None]
    if not shown:
        return None
    return section("What each attack shows", el("details", el("summary", f"{len(shown)} rows of pictures"), shown))


def _by_success(group: Group) -> list[Cell]:
    cells = [*group.cells(group.main), *group.cells(group.main, floors=True)]
    return sorted(cells, key=lambda cell: -cell.value("agreed"))


def _strip(group: Group, cell: Cell, title: str, below: str) -> Html | None:
    kept = pictures(group, cell).get("rebuilt")
    return None if kept is None else beside(title, below, strip(kept, range(len(kept)), f"Pictures by {title}"))


def _published(group: Group) -> Html | None:
    rows = []
    for who in group.victims:
        for cell in group.cells(who):
            found = cell.first.published
            if found is not None and "closed" in found.values:
                cells = [who_text(who), share(cell.metric("closed")), SHARE.value(found.values["closed"])]
                rows.append(row(cell.first.label, [*cells, el("td", found.source, class_="source")]))
    head = ["Attack", "Victim", "Here, closed", "Published", "Source"]
    return section("Beside published values", table("Ours and published", head, [el("tbody", rows)])) if rows else None


def _judges(group: Group) -> Html | None:
    said = list(dict.fromkeys(title for r in group.records for title in r.judges))
    if not said:
        return None
    shares: dict[str, list[str]] = {}
    for r in group.records:
        if r.control is not None:
            named = f"{SHARE.value(r.control.named)}, {SHARE.value(r.control.chance)} for each class"
            shares.setdefault(named, []).append(r.label)
    control = [el("li", f"{named}: {', '.join(labels)}.") for named, labels in shares.items()]
    below = [
        el("p", "The victim also has an output that it was never trained on. How often both judges take pictures of "
                "it for one of the victim's classes:"),
        el("ul", control, class_="plain"),
    ] if control else []  # fmt: skip
    return section("The judges", el("ul", [el("li", title) for title in said], class_="plain"), below)


def _failed(group: Group) -> Html | None:
    items = [
        el("li", el("b", label), f" on {', '.join(dict.fromkeys(r.defense_label for r in found))}: {why}")
        for (label, why), found in group.failed().items()
    ]
    return section("What could not be run, and why", el("ul", items, class_="plain")) if items else None


def names(group: Group) -> str:
    """How much there is, for the list of contents."""
    n, victims = len(group.attacks), len(group.victims)
    return f"{n} attack{'s'[: n != 1]}, {victims} victim{'s'[: victims != 1]}"
