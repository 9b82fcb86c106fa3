"""A profile as text for a terminal."""

from __future__ import annotations

from cutlayer.records.profile import Profile, Span
from cutlayer.report.kit.columns import columns, plain, wrap
from cutlayer.report.kit.wording import duration, ms, rate
from cutlayer.report.profiles import advice, lengths


def text(profile: Profile) -> str:
    """The record of a profile, as tables: cuts, networks, and what to do."""
    networks = [_network(profile, name) for name in profile.networks]
    by_length = [_lengths(profile)] if any(cut.lengths for cut in profile.cuts) else []
    return "\n\n".join([_heading(profile), _cuts(profile), *by_length, *networks, _advice(profile), _verdict(profile)])


def _heading(profile: Profile) -> str:
    machine, settings = profile.machine, profile.settings
    where = f"{profile.model} on {machine['processor']} ({machine['machine']}), {advice.cpu(profile)}, "
    return plain(f"{where}head in {settings.head}, server: {settings.server}") + "\n" + plain(profile.images)


def _cuts(profile: Profile) -> str:
    first, *others = profile.cuts[0].head_ns.percentiles
    names = ["cut", "smashed", f"head {first}", *others, "n", "cold", "RSS MB", "MMACs", "kparams", "J"]
    names += [*(f"{codec} B" for codec in profile.codecs), *profile.quality_names]
    rows = []
    for cut in profile.cuts:
        head, cold, joules = cut.head_ns, cut.cold_ns, cut.energy.joules
        # The quality is that with the first codec; the record has the others.
        quality = cut.codecs[profile.codecs[0]].quality.known
        rows.append(
            [
                cut.cut, "x".join(map(str, cut.shape)), *map(ms, head.percentiles.values()), str(head.n),
                ms(cold.open_ns + cold.first_ns), f"{cut.peak_rss_bytes / 1e6:.0f}",
                _scaled(cut.macs, 1e6), _scaled(cut.params, 1e3), "-" if joules is None else f"{joules:.3f}",
                *(f"{codec.message_bytes:,}" for codec in cut.codecs.values()),
                *(f"{quality[name].value:.3f}" if name in quality else "-" for name in profile.quality_names),
            ]
        )  # fmt: skip
    lines = [columns(names, rows), wrap(advice.head_and_bytes(profile))]
    legend = "times in ms; cold = opening the head and its first inference; J = per inference"
    source = next((cut.energy.source for cut in profile.cuts if cut.energy.source), None)
    meter = f", by {source}" if source else ": no meter that can be read here"
    bound = [wrap(advice.ceiling(profile))] if advice.ceiling(profile) else []
    return "\n".join([*lines, plain(legend + meter), *bound, *map(plain, _held_back(profile))])


def _lengths(profile: Profile) -> str:
    rows = [[cut, *values] for cut, values in lengths.rows(profile, ms)]
    return columns(["cut", *lengths.names(profile)], rows) + "\n" + wrap(f"{lengths.HOW} Times in ms.")


def _held_back(profile: Profile) -> list[str]:
    """What slowed the device down, on purpose and otherwise, as far as the system tells."""
    lines = []
    quotas = [cut.quota for cut in profile.cuts if cut.quota]
    if quotas:
        stopped, periods = (sum(q.throttled_periods for q in quotas), sum(q.periods for q in quotas))
        lines.append(
            f"CPU quota of {quotas[0].cpus:g} cores ({quotas[0].source}): "
            f"the heads were stopped in {stopped:,} of {periods:,} periods"
        )
    temperatures = [cut.temperature_c for cut in profile.cuts if cut.temperature_c]
    if temperatures:
        hottest = max(temperatures, key=lambda reading: reading.value)
        lines.append(f"hottest: {hottest.value:.0f} degrees C ({hottest.source})")
    return lines


def _network(profile: Profile, name: str) -> str:
    names, rows = ["cut", *profile.codecs, "head", "enc", "network", "queue", "tail", "rest"], []
    for cut in profile.cuts:
        _, fastest = cut.fastest(name)
        stages = fastest.stages_ns
        rest_ns = sum(stages[stage] for stage in ("decode", "reply", "unattributed"))
        parts = [stages["head"], stages["protect"] + stages["encode"], stages["network"], stages["queue"]]
        parts += [stages["tail"], rest_ns]
        latencies = [
            ms(requests.end_to_end_ns.p50) + ("*" if requests.source == "measured" else " ")
            for requests in cut.networks[name].values()
        ]
        rows.append([cut.cut, *latencies, *map(ms, parts)])
    figures = profile.networks[name].figures
    title = f"{name} ({figures}): end-to-end p50 in ms, * measured; the stages are those of the fastest codec"
    return plain(title) + "\n" + columns(names, rows)


def _advice(profile: Profile) -> str:
    lines = [wrap(advice.headline(profile, duration)), "The fastest split over each network:"]
    for recommendation in profile.recommendations:
        sentence = advice.best(profile, recommendation, duration)
        lines.append(wrap(f"  {recommendation.network}: {sentence}", "    "))
    lines.append(wrap(advice.basis(profile)))
    if reasons := advice.other_reasons(profile, duration):
        lines.append("What else could justify a split:")
        lines += [wrap(f"  {reason}", "    ") for reason in reasons]
    if profile.bandwidth.best:
        lines.append("Best cut by bandwidth, the round trip being the same for all:")
        lines += [plain(f"  {_rates(span)}: {span.choice}") for span in profile.bandwidth.best]
    return "\n".join(lines)


def _rates(span: Span) -> str:
    if span.to_bps is None:
        return f"from {rate(span.from_bps)}" if span.from_bps else "always"
    return f"{rate(span.from_bps)} to {rate(span.to_bps)}" if span.from_bps else f"below {rate(span.to_bps)}"


def _verdict(profile: Profile) -> str:
    lines = []
    sources = {r.source for cut in profile.cuts for requests in cut.networks.values() for r in requests.values()}
    if profile.cost_model.points or "model" in sources:
        through = f" ({profile.settings.network_emulation or 'the network that there is'})"
        lines.append(f"Cost model: {advice.model_errors(profile)}{through if profile.cost_model.points else ''}.")
    lines += [plain(f"Note: {note}") for note in profile.notes]
    lines.append(advice.verdict(profile) + (":" if profile.reasons else ""))
    lines += [wrap(f"  {reason}", "    ") for reason in profile.reasons]
    return "\n".join(lines)


def _scaled(value: int | None, by: float) -> str:
    return "-" if value is None else f"{value / by:,.1f}"
