"""What a profile recommends and how sure it is, in sentences: the same for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from cutlayer.records.profile import CutRecord, Profile, Recommendation
from cutlayer.report.kit.wording import ceiling_assumes, size

NAMED = 3
"""Number of choices as good as the best that are named; the others are counted."""


def basis(profile: Profile) -> str:
    """Which figures the recommendations rest on."""
    start = "The best is the smallest figure, measured or computed; what is computed is the cost model's, "
    if profile.settings.network_emulation is None:
        return start + "which is fitted to what was measured."
    return start + "moved by the median difference to what was measured over the same network."


def ceiling(profile: Profile) -> str:
    """What the columns of the ceiling say and assume, or why there are none; empty where none was looked for."""
    found = [codec.quality.ceiling for cut in profile.cuts for codec in cut.codecs.values() if codec.quality.ceiling]
    if not found:
        return ""
    if reasons := sorted({ceiling.none for ceiling in found if ceiling.none}):
        return f"No ceiling on what an attacker can do: {', '.join(reasons)}."
    assumed = ceiling_assumes(ceiling.candidates for ceiling in found)
    return f"Leakage and identified at most: what no attacker exceeds with one release, whatever the codec. {assumed}"


def headline(profile: Profile, time: Callable[[float], str]) -> str:
    """Whether to split for speed at all, on each network; `time` gives the text of a time in ns."""
    by_answer: dict[str | None, list[Recommendation]] = {}
    for recommendation in profile.recommendations:
        by_answer.setdefault(recommendation.faster, []).append(recommendation)
    sentences = [] if profile.verdict == "VALID" else [f"The figures are {profile.verdict}, for the reasons below."]
    if entries := by_answer.get("alone"):
        sentences.append(
            f"Do not split for speed{_over(entries, profile)}: the device alone takes {_alone(entries, time)}, "
            f"and the fastest split {_fastest(entries, time)}."
        )
    if entries := by_answer.get("even"):
        sentences.append(
            f"A split gains no speed{_over(entries, profile)}: the device alone takes {_alone(entries, time)}, "
            f"which is not told apart from the fastest split, {_fastest(entries, time)}."
        )
    if entries := by_answer.get("split"):
        sentences.append(
            f"Split for speed{_over(entries, profile)}: the fastest split takes {_fastest(entries, time)}, "
            f"and the device alone {_alone(entries, time)}."
        )
    if entries := by_answer.get(None):
        sentences.append(_not_compared(profile, entries))
    if all(_all_near(profile, recommendation) for recommendation in profile.recommendations):
        sentences.append(
            f"The {len(profile.cuts)} cuts are not told apart on any network: none stands out for its speed."
        )
    return " ".join(sentences)


def _over(entries: Sequence[Recommendation], profile: Profile) -> str:
    names = [entry.network for entry in entries]
    return "" if len(names) == len(profile.recommendations) else f" over {_listed(names)}"


def _alone(entries: Sequence[Recommendation], time: Callable[[float], str]) -> str:
    return time(next(entry.device_alone_ns for entry in entries if entry.device_alone_ns is not None))


def _fastest(entries: Sequence[Recommendation], time: Callable[[float], str]) -> str:
    return _listed([f"{time(entry.best.latency_ns)} over {entry.network}" for entry in entries if entry.best])


def _not_compared(profile: Profile, entries: Sequence[Recommendation]) -> str:
    """Why nothing is said of a split against the device alone, where one of the two is missing."""
    over = _listed([entry.network for entry in entries])
    if any(entry.best is None for entry in entries):
        return f"Over {over}, no split keeps the limits."
    if profile.local_ns is None:
        return f"Over {over}, the device alone is no choice: it has no tail, or the tail was not measured here."
    return f"Over {over}, the device alone is no choice: it breaks a limit."


def _listed(texts: Sequence[str]) -> str:
    *others, last = texts
    return f"{', '.join(others)} and {last}" if others else last


def other_reasons(profile: Profile, time: Callable[[float], str]) -> list[str]:
    """What could justify a split that is not faster: what each recommended cut saves of the device."""
    slower = [entry.best for entry in profile.recommendations if entry.best and entry.faster in ("alone", "even")]
    cuts = [cut for cut in profile.cuts if cut.cut in {choice.cut for choice in slower}]
    return [f"{cut.cut}: {'; '.join(_savings(profile, cut, time))}." for cut in cuts]


def _savings(profile: Profile, cut: CutRecord, time: Callable[[float], str]) -> list[str]:
    clauses, whole_rss = [], profile.local_peak_rss_bytes
    if whole_rss is not None:
        clauses.append(f"memory at its peak {size(cut.peak_rss_bytes)}, the whole model {size(whole_rss)}")
    if cut.head_file_bytes is not None and cut.tail_file_bytes is not None:
        whole = size(cut.head_file_bytes + cut.tail_file_bytes)
        clauses.append(f"{size(cut.tail_file_bytes)} of {whole} of the model's files kept at the server")
    whole_energy = profile.local_energy and profile.local_energy.joules
    if cut.energy.joules is not None and whole_energy is not None:
        clauses.append(f"energy {cut.energy.joules:.3f} J for the head, {whole_energy:.3f} J for the whole model")
    elif profile.local_ns is not None:
        whole_time = f"{time(profile.local_ns.p50)} for the whole model"
        clauses.append(f"battery: {time(cut.head_ns.p50)} of computing for the head, {whole_time}, no meter here")
    return clauses


def best(profile: Profile, recommendation: Recommendation, time: Callable[[float], str]) -> str:
    """The fastest split on a network, where its time goes, what it costs over the device alone, and what is as good.

    `time` gives the text of a time in ns.
    """
    choice, alone_ns = recommendation.best, recommendation.device_alone_ns
    if choice is None:
        alone = "" if alone_ns is None else f" The device alone keeps it, and takes {time(alone_ns)}."
        return f"{recommendation.why_none}{alone}"
    cut = next(cut for cut in profile.cuts if cut.cut == choice.cut)
    requests = cut.networks[recommendation.network][choice.codec]
    stages = requests.stages_ns
    parts = {name: stages[name] for name in ("head", "network", "tail")}
    parts["the rest"] = sum(stages.values()) - sum(parts.values())
    clauses = [f"{choice.cut} with {choice.codec}, {time(choice.latency_ns)} ({requests.source_text})"]
    clauses[0] += ": " + ", ".join(f"{name} {time(ns)}" for name, ns in parts.items())
    if alone_ns is not None and recommendation.faster in ("alone", "split"):
        more_ns = choice.latency_ns - alone_ns
        clauses.append(f"{time(abs(more_ns))} {'more' if more_ns > 0 else 'less'} than the device alone")
    near = [f"{other.cut} with {other.codec}" for other in recommendation.as_good]
    if _all_near(profile, recommendation):
        clauses.append(f"the {len(profile.cuts)} cuts are not told apart, so that speed does not choose between them")
    elif near:
        more = f" and {len(near) - NAMED} more" if len(near) > NAMED else ""
        clauses.append(f"not told apart from {', '.join(near[:NAMED])}{more}")
    if other := _other_by_rate(profile, recommendation):
        clauses.append(other)
    return "; ".join(clauses)


def _all_near(profile: Profile, recommendation: Recommendation) -> bool:
    """Whether there are several cuts, and none of them is told apart from the best."""
    near = {other.cut for other in (recommendation.best, *recommendation.as_good) if other}
    return len(profile.cuts) > 1 and near == {cut.cut for cut in profile.cuts}


def _other_by_rate(profile: Profile, recommendation: Recommendation) -> str | None:
    """Why the best choice by bandwidth, which is computed, is another one than that on the network."""
    up_bps, chosen = profile.networks[recommendation.network].up_bps, recommendation.best
    spans = profile.bandwidth.best
    span = next(
        (s for s in spans if s.from_bps <= (up_bps or inf) and (s.to_bps is None or (up_bps or inf) < s.to_bps)), None
    )
    if span is None or chosen is None or span.choice == f"{chosen.cut} {chosen.codec}":
        return None
    if span.choice in {f"{other.cut} {other.codec}" for other in recommendation.as_good}:
        return f"by bandwidth alone it is {span.choice}, which is computed and not told apart"
    return f"by bandwidth alone it is {span.choice}, which is computed without what was measured over this network"


def verdict(profile: Profile) -> str:
    """The verdict, and how many rounds were set aside for it."""
    if not profile.set_aside:
        return profile.verdict
    return f"{profile.verdict} after {profile.set_aside} of {profile.rounds} rounds were set aside"


def head_and_bytes(profile: Profile) -> str:
    """What the columns of heads and bytes hold, in sentences."""
    sentences = [
        "The head is timed here by itself, run after run. Within requests, as in the tables of the networks, it takes "
        "longer: it starts after a wait, with cold caches. Bytes are those of the whole message for one input, header "
        "included."
    ]
    if "sentences" in profile.images:
        sentences.append(
            "They are the median over the sentences; the shape of the smashed data is that of the longest that the "
            "head takes."
        )
    codecs = [codec for cut in profile.cuts for codec in cut.codecs.values()]
    if answers := [codec.answer_bytes for codec in codecs if codec.answer_bytes is not None]:
        low, high = min(answers), max(answers)
        sentences.append(f"The answer takes {low:,}{'' if low == high else f' to {high:,}'} bytes.")
    return " ".join(sentences)


def model_errors(profile: Profile) -> str:
    """How far off the cost model was."""
    model = profile.cost_model
    if not model.points:
        return "not checked, for every point would have taken too long to measure"
    return (
        f"off by {model.median_error:.1%} in the middle and {model.greatest_error:.1%} at most, "
        f"at {len(model.points)} points measured"
    )


def cpu(profile: Profile) -> str:
    """Threads of the head, the cores that they may run on, and their share of time."""
    settings, cores = profile.settings, profile.settings.cores or profile.machine["affinity"]
    text = "1 thread" if settings.threads == 1 else f"{settings.threads} threads"
    if cores is not None:
        text += f" on core{'s'[: len(cores) > 1]} {','.join(map(str, cores))}"
    return text if settings.cpu_quota is None else f"{text}, a quota of {settings.cpu_quota:g} cores"
