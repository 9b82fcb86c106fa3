"""A profile as one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cutlayer.records.dataclass_json import dump
from cutlayer.records.files import write_text
from cutlayer.records.profile import Profile, Times
from cutlayer.report.kit import markup
from cutlayer.report.kit.markup import Html, el, note, row, section
from cutlayer.report.kit.svg import stage_bar
from cutlayer.report.kit.wording import DASH, duration, rate, size
from cutlayer.report.profiles import advice, lengths
from cutlayer.report.profiles.charts import bandwidth_curve, pareto_plots
from cutlayer.trace import STAGES

HTML = "profile.html"

_STYLE = """
.scatter .curve { fill: none; stroke: var(--accent); stroke-width: 2.5; }
.scatter .faint { fill: none; stroke: var(--soft); opacity: 0.35; }
.scatter .faint circle { fill: var(--soft); }
.numbers td, .numbers thead th + th { text-align: right; }
"""


def save(folder: Path, profile: Profile) -> None:
    """Write `profile.html`, by an atomic rename."""
    write_text(folder / HTML, page(profile))


def page(profile: Profile) -> str:
    """The whole page, from the record alone."""
    networks = [_network(profile, name) for name in profile.networks]
    sections = [
        _opening(profile),
        _bandwidth(profile),
        networks,
        _cuts(profile),
        _lengths(profile),
        _stages(profile),
        _how(profile),
    ]
    return markup.page(f"cutlayer: where to cut {profile.model}", el("main", sections), _STYLE)


def _opening(profile: Profile) -> Html:
    lead = f"On {profile.machine['processor']}, the head with {advice.cpu(profile)}. {profile.images}."
    sentences = [(entry.network, advice.best(profile, entry, duration)) for entry in profile.recommendations]
    reasons = advice.other_reasons(profile, duration)
    faults = el("ul", el("li", [el("p", reason) for reason in profile.reasons]), class_="flags")
    return el(
        "header",
        el("p", "cutlayer profile", class_="product"),
        el("h1", f"Where to cut {profile.model}"),
        el("p", el("b", advice.headline(profile, duration)), class_="lead"),
        el("p", lead),
        el("p", "The fastest split over each network:"),
        el("ul", [el("li", el("b", network), f": {sentence}") for network, sentence in sentences]),
        note(advice.basis(profile)),
        [el("p", "What else could justify a split:"), el("ul", [el("li", reason) for reason in reasons])]
        if reasons
        else None,
        el(
            "p", el("b", advice.verdict(profile)), ":" if profile.reasons else "; nothing speaks against these figures."
        ),
        faults if profile.reasons else None,
        map(note, profile.notes),
    )


def _bandwidth(profile: Profile) -> Html:
    rows = []
    for number, span in enumerate(profile.bandwidth.best, 1):
        rates = [rate(bps) if bps else DASH for bps in (span.from_bps, span.to_bps)]
        rows.append(row(f"{number} {span.choice}", rates))
    how = "Computed: stages as measured, and each byte at the given rate, up and down. The round trip of "
    how += "the network to the server is in it" if profile.bandwidth.round_trip_included else "a network is on top"
    how += "; it is the same for all cuts, and the device alone does not pay it. A point is the fastest split over a "
    how += "network, with its round trip and its own rate down."
    table = _table(["Best", "from", "up to"], rows)
    return section("The best cut against bandwidth", el("p", how), bandwidth_curve(profile), table)


def _network(profile: Profile, name: str) -> Html:
    network, fastest = profile.networks[name], [(cut.cut, *cut.fastest(name)) for cut in profile.cuts]
    longest = max(sum(requests.stages_ns.values()) for _, _, requests in fastest)
    bars = []
    for cut, codec, requests in fastest:
        figure = f"{duration(requests.end_to_end_ns.p50)}, {requests.source_text}"
        title = el("div", el("span", f"{cut} with {codec}"), el("span", figure), class_="bar-title")
        bars.append(el("div", title, stage_bar(requests.stages_ns, longest, cut)))
    return section(
        f"Over {name}",
        note(f"{network.figures} (rate, delay, jitter, loss); {network.source}."),
        el("p", "Each cut with its fastest codec; the median of each stage."),
        el("div", bars, class_="bars"),
        el("ul", [el("li", el("span", class_=f"swatch s-{stage}"), stage) for stage in STAGES], class_="legend"),
        pareto_plots(profile, name),
    )


def _cuts(profile: Profile) -> Html:
    """The heads alone and what they take of the device; then what they send, and what that is worth and gives away."""
    warm = any(cut.temperature_c for cut in profile.cuts)
    first, *others = profile.cuts[0].head_ns.percentiles
    names = ["Cut", f"Head {first}", *others, "n", "Start", "Open", "First", "Peak RSS", "Energy"]
    sent = ["Cut", "Smashed", "MACs", "Params", *profile.codecs]
    sent += [f"{name}, {codec}" for name in profile.quality_names for codec in profile.codecs]
    rows, sent_rows = [], []
    for cut in profile.cuts:
        head, cold, joules = cut.head_ns, cut.cold_ns, cut.energy.joules
        values: list[object] = [*map(duration, head.percentiles.values()), f"{head.n:,}"]
        values += [*map(duration, (cold.start_ns, cold.open_ns, cold.first_ns)), size(cut.peak_rss_bytes)]
        values.append(DASH if joules is None else f"{joules:.3f} J ({cut.energy.source})")
        if warm:
            values.append(f"{cut.temperature_c.value:.0f} °C" if cut.temperature_c else DASH)
        rows.append(_numbers(cut.cut, values))
        values = ["x".join(map(str, cut.shape))]
        values += [DASH if count is None else f"{count:,}" for count in (cut.macs, cut.params)]
        values += [size(codec.message_bytes) for codec in cut.codecs.values()]
        for name in profile.quality_names:
            estimates = [codec.quality.known.get(name) for codec in cut.codecs.values()]
            values += [DASH if estimate is None else f"{estimate.value:.3f}" for estimate in estimates]
        sent_rows.append(_numbers(cut.cut, values))
    how = "A percentile is given where enough runs stand behind it. Start is a fresh process until it can work; "
    how += "first is its very first inference; energy is of one inference, with all that runs on the machine."
    return section(
        "The cuts",
        el("p", how),
        el("p", advice.head_and_bytes(profile)),
        _table([*names, *(["Temperature"] if warm else [])], rows),
        _table(sent, sent_rows),
        el("p", advice.ceiling(profile)) if advice.ceiling(profile) else None,
    )


def _lengths(profile: Profile) -> list[Html]:
    """What sentences of each length cost; nothing where no lengths were asked for."""
    rows = [_numbers(cut, values) for cut, values in lengths.rows(profile, duration)]
    if not rows:
        return []
    table = _table(["Cut", *(name.capitalize() if name == "tokens" else name for name in lengths.names(profile))], rows)
    return [section("Sentences of each length", el("p", lengths.HOW), table)]


def _stages(profile: Profile) -> Html:
    """p50, p95 and p99 of every stage, a table for each codec."""
    parts = []
    for name in profile.codecs:
        rows = []
        for cut in profile.cuts:
            codec = cut.codecs[name]
            cells = [_percentiles(times) for times in (*codec.stages_ns.values(), codec.end_to_end_ns)]
            rows.append(_numbers(cut.cut, [*cells, codec.end_to_end_ns.n]))
        table = _table(["Cut", *STAGES, "end to end", "n"], rows)
        parts.append(el("details", el("summary", f"With {name}"), table))
    real = len(profile.cuts) == 1 and profile.settings.network_emulation is None
    how = f"Of whole requests to {profile.settings.server if real else 'a server process on this machine'}, "
    how += "without any emulated network: p50, and below it p95 and p99 where there are enough of them."
    return section("The stages", el("p", how), parts)


def _how(profile: Profile) -> Html:
    settings = dump(profile.settings)
    facts = {"Cost model": advice.model_errors(profile), **settings, **profile.machine}
    # The cores of the settings and those of the machine have the same name.
    facts["pinned_to"] = settings["cores"]
    items = [el("div", el("dt", name.replace("_", " ")), el("dd", _fact(value))) for name, value in facts.items()]
    return section("How it was measured", el("dl", items, class_="columns"))


def _fact(value: object) -> str:
    """An entry of the machine or of the settings in words."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return DASH if value is None else str(value)


def _table(names: Sequence[str], rows: Sequence[Html]) -> Html:
    head = el("tr", [el("th", name, scope="col") for name in names])
    return el("div", el("table", el("thead", head), el("tbody", rows), class_="numbers"), class_="wide", tabindex=0)


def _numbers(name: str, values: Sequence[object]) -> Html:
    return row(name, [el("td", value) for value in values])


def _percentiles(times: Times) -> list[object]:
    first, *others = times.percentiles.values()
    return [duration(first), *(el("small", duration(other)) for other in others if other is not None)]
