"""How often an attacker picks the input that was sent from a list: by the list itself, or by its reconstruction."""

from __future__ import annotations

from collections.abc import Sequence

from cutlayer.records.run import LEAST_CANDIDATES, PIXELS, WATCH_LIST, IdentificationRecord
from cutlayer.report.kit.kinds import Kind
from cutlayer.report.kit.markup import Html, dot, el, note, row, section, small, table
from cutlayer.report.kit.svg import Axis, Chart, Frame, percent, text
from cutlayer.report.kit.wording import IDENTIFIED, access_name
from cutlayer.report.runs.groups import Group
from cutlayer.report.runs.settings import Setting

FRAME = Frame(300.0, 214.0, left=34.0, right=292.0, top=12.0, bottom=172.0)
LINES = {"list": "watch list", "waits": "watch list that waits for several releases", "pixels": "best reconstruction"}
"""The lines of a chart by their class of the style sheet."""


def how(found: IdentificationRecord, kind: Kind) -> str:
    """The attack, and whether it compares reconstructions or is a watch list, with the number of releases."""
    by = f"{found.label}, {kind.compared}" if found.how == PIXELS else found.label
    return f"{by}, {found.n_releases} releases" if found.n_releases > 1 and "n_releases" not in found.label else by


def among(group: Group) -> str:
    """The number of candidates, in words."""
    counts = sorted({r.candidates for s in group.settings for r in s.results if r.candidates})
    if not counts:
        return "all candidates"
    return f"{counts[0]:,} candidates" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,} candidates"


def too_few(candidates: int) -> str:
    """A sentence where there are too few candidates for the figure to say something; empty where there are enough."""
    if candidates >= LEAST_CANDIDATES:
        return ""
    return f" It says nothing here: with fewer than {LEAST_CANDIDATES} candidates, chance alone is often right."


def about(group: Group) -> str:
    """What the figure says, in sentences."""
    kind = group.kind
    said = (
        f"Identified is how often the {kind.one} that was sent is picked from {among(group)}, by the attack that does "
        "it best: one that encodes the candidates with the device's own half (watch list), or one whose reconstruction "
        f"is compared with them {kind.compared}."
    )
    if without := [setting.label for setting in group.settings if not setting.has_watch_list]:
        said += f" No watch list was played against {', '.join(without)}: there it is the figure {kind.compared}."
    counts = [result.candidates for setting in group.settings for result in setting.results if result.candidates]
    return said + (too_few(min(counts)) if counts else "")


def identified(group: Group) -> Html | None:
    """The curves of each defense, and every way to identify; None where no run has a record of it."""
    settings = [setting for setting in group.settings if setting.identification]
    if not settings:
        return None
    explained = (
        f"{about(group)} Each chart shows in what share of cases the right candidate is among the first so many of "
        "the attacker's list (the cumulative match characteristic); the dashed line is guessing. Who can be identified "
        "has been found out, however poor the reconstruction looks."
    )
    legend = [
        el("li", el("span", class_=f"line {name}"), words)
        for name, words in LINES.items()
        if any(name in _lines(setting) for setting in settings)
    ]
    return section(
        f"Which {group.kind.one} was it?",
        note(explained),
        el("div", [_panel(setting, group.kind) for setting in settings], class_="curves"),
        el("ul", legend, class_="legend"),
        el("details", el("summary", "Every attack, with intervals"), every_way(ways_of(settings), group.kind)),
    )


def _lines(setting: Setting) -> dict[str, IdentificationRecord]:
    """The best record for each line of a chart."""
    of_line: dict[str, list[IdentificationRecord]] = {name: [] for name in LINES}
    for found in setting.identification:
        name = "pixels" if found.how == PIXELS else "waits" if found.n_releases > 1 else "list"
        of_line[name].append(found)
    return {name: max(found, key=lambda f: f.top_1.value) for name, found in of_line.items() if found}


def _panel(setting: Setting, kind: Kind) -> Html:
    lines = _lines(setting)
    most = max(found.candidates for found in lines.values())
    ticks = [rank for rank in (1, 10, 100, 1000, 10_000) if rank <= most]
    across = Axis(1, max(most, 2), ticks, "{:,.0f}".format, logarithmic=True)
    chart = Chart(FRAME, across, Axis(0, 1.02, (0.0, 0.25, 0.5, 0.75, 1.0), percent))
    guessing = sorted({*next(iter(lines.values())).ranks})
    drawn = [chart.polyline([(rank, rank / most) for rank in guessing], "guess")]
    drawn += [
        chart.polyline([*zip(found.ranks, found.curve, strict=True)], f"cmc {name}") for name, found in lines.items()
    ]
    titles = [
        text("first so many candidates", FRAME.right, FRAME.height - 6, "end"),
        text("found among them, %", FRAME.left + 6, chart.y(0.32)),
    ]
    spoken = "; ".join(f"{how(found, kind)}: {IDENTIFIED.value(found.top_1.value)} at once" for found in lines.values())
    caption = el("figcaption", dot(setting.color), setting.label)
    return el("figure", caption, chart.svg([chart.axes(), titles, drawn], f"{setting.label}. {spoken}.", None))


Ways = Sequence[tuple[str, str, Sequence[IdentificationRecord]]]
"""The title of a defense, the class of its color, and its records."""


def ways_of(settings: Sequence[Setting]) -> Ways:
    """Those of each defense of a group."""
    return [(setting.label, setting.color, setting.identification) for setting in settings]


def every_way(ways: Ways, kind: Kind) -> Html:
    """A table of every attack by each way to identify an input."""
    head = ["Attack", "Access", "Releases", "How", "First", "Among the first ten", "Candidates"]
    bodies = []
    for label, color, records in ways:
        band = el("tr", el("th", dot(color), label, scope="rowgroup", colspan=len(head)), class_="band")
        rows = [
            row(
                el("th", found.label, scope="row"),
                [
                    el("td", access_name(found.access), small(f"on {found.deployment}")),
                    found.n_releases,
                    "watch list" if found.how == WATCH_LIST else kind.compared,
                    *(
                        el("td", IDENTIFIED.value(share.value), small(IDENTIFIED.interval(share)))
                        for share in (found.top_1, found.top_10)
                    ),
                    f"{found.candidates:,}",
                ],
            )
            for found in records
        ]
        bodies.append(el("tbody", band, rows))
    return table(f"Every way to identify {kind.a}", head, bodies, "attacks")
