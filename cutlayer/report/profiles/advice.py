"""What a profile recommends and how sure it is, in sentences: the same for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Callable

from cutlayer.records.profile import Profile, Recommendation

NAMED = 3
"""Number of choices as good as the best that are named; the others are counted."""


def basis(profile: Profile) -> str:
    """Which figures the recommendations rest on."""
    start = "The best is the smallest figure, measured or computed; what is computed is the cost model's, "
    if profile.settings.network_emulation is None:
        return start + "which is fitted to what was measured."
    return start + "moved by the median difference to what was measured over the same network."


def best(profile: Profile, recommendation: Recommendation, time: Callable[[float], str]) -> str:
    """The best choice on a network, where its time goes, what is as good, and what the device takes alone.

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
    if near := [f"{other.cut} with {other.codec}" for other in recommendation.as_good]:
        more = f" and {len(near) - NAMED} more" if len(near) > NAMED else ""
        clauses.append(f"not told apart from {', '.join(near[:NAMED])}{more}")
    if alone_ns is not None:
        faster = "faster" if alone_ns < choice.latency_ns else "slower"
        clauses.append(f"the device alone is {faster}, {time(alone_ns)}")
    return "; ".join(clauses)


def head_and_bytes(profile: Profile) -> str:
    """What the columns of heads and bytes hold, in sentences."""
    sentences = [
        "The head is timed here by itself, run after run. Within requests, as in the tables of the networks, it takes "
        "longer: it starts after a wait, with cold caches. Bytes are those of the whole message for one image, header "
        "included."
    ]
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
