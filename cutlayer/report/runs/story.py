"""The opening of the page: what leaks, what the defense changed and what it cost, for someone new to the field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import prod

import numpy as np

from cutlayer.data.legend import read_legend
from cutlayer.data.modality import IMAGE
from cutlayer.records.reading import Run
from cutlayer.records.reconstructions import Reconstructions
from cutlayer.records.run import PIXELS
from cutlayer.report.kit.comparison import sign
from cutlayer.report.kit.inputs import SHOWN, Inputs, pixels
from cutlayer.report.kit.kinds import Kind, kind_of
from cutlayer.report.kit.markup import Html, dot, el
from cutlayer.report.kit.pictures import choose
from cutlayer.report.kit.wording import IDENTIFIED, LEAKAGE_GAIN, attack_words, duration, size
from cutlayer.report.runs.groups import Group
from cutlayer.report.runs.settings import Setting
from cutlayer.report.runs.usefulness import OF_CLASSES, Usefulness, compared, what_is_left

CHEAP = 0.02
"""Loss of accuracy, or of cosine, up to which a defense costs little, for the choice of those that open the page."""


def opening(warnings: Html, kind: Kind, useful: Usefulness = OF_CLASSES) -> Html:
    """What warns the reader, then an introduction to split learning and to the question of the page.

    Args:
        warnings: What the reader should know before anything else.
        kind: The kind of the inputs on the page.
        useful: How the use of the answers is shown.
    """
    return el(
        "header",
        el("p", "cutlayer", class_="product"),
        el("h1", "What can the server see?"),
        warnings,
        el(
            "p",
            f"A {kind.device} runs the first layers of a neural network itself and sends their output to a server, "
            f"which runs the rest and answers {useful.answers or kind.answers}. The {kind.one} never leaves the "
            f"{kind.device}. But the numbers that are sent describe it, and the operator of the server may try to "
            f"{kind.back}.",
            class_="lead",
        ),
        el(
            "p",
            f"This page shows how well that works, how much a defense on the {kind.device} hinders it, and what the "
            f"defense costs in {useful.cost} and time. Dividing a network like this is called split learning or "
            "collaborative inference; the place of division is the cut, and what is sent there is the smashed data.",
        ),
    )


def inputs_first(group: Group) -> Html:
    """The originals, and below them what the worst attack makes of them under each defense."""
    result, reference = group.first.result, group.settings[0].members[0]
    kind, sent = group.kind, group.sends
    if group.in_tokens:
        sent += f", {prod(result.smashed[1:]):,} for each token"
    if result.cost and result.cost[0].tensor_bytes is not None:
        of = f" in the median of the {kind.many} that were timed" if group.in_tokens else ""
        sent += f" ({size(result.cost[0].tensor_bytes)}{of})"
    indices = shown(reference.run)
    tiles = reference.run.pictures.tiles if reference.run.pictures else None
    about = f"Private {kind.many}{_size(result.input)}, which the attacker had never seen."
    if tiles:
        about = (
            f"Photographs on which neither the network nor the attacker was trained. Each is sent as {prod(tiles)} "
            f"tiles{_size(result.input)}, which are laid together again here. The other pictures are what the worst "
            "attack makes of it: the one with the highest leakage gain over all tiles."
        )
    if len(group.seeds) > 1:
        about += f" They are those of seed {reference.run.result.seed}; the figures are means over the seeds."
    rows = [_originals(reference.run, indices, about)]
    for setting in told(group):
        member = setting.members[0]
        same = np.array_equal(originals(member.run).values, originals(reference.run).values)
        own = indices if same else shown(member.run)
        if not same:
            rows.append(_originals(member.run, own, f"The {kind.many} of the run with {member.label}."))
        rows.append(_verdict(group, setting, own))
    return el(
        "section",
        el(
            "p",
            f"For each {'tile' if tiles else kind.one} the {kind.device} sends {sent}. ",
            in_one_sentence(group),
            class_="lead",
        ),
        el("div", rows, class_="story photographs" if tiles else "story"),
    )


def told(group: Group) -> list[Setting]:
    """The settings of the opening: all of a few; of many the baseline and two that leak least.

    One is the one that leaks least of those that cost little accuracy, the other leaks least of all.
    """
    if not group.is_sweep:
        return [*group.settings]
    known = [s for s in group.settings if not s.undefended and math.isfinite(s.leakage.value)]
    cheap = [s for s in known if s.change.value >= -CHEAP]
    least = [min(some, key=lambda s: s.leakage.value) for some in (cheap, known) if some]
    bare = [group.undefended] if group.undefended else []
    return list({setting.anchor: setting for setting in [*bare, *least]}.values())


def whole(run: Run) -> Reconstructions | None:
    """The pictures of a run; whole photographs where its private pictures are their tiles."""
    return None if run.pictures is None else run.pictures.whole


def shown(run: Run) -> list[int]:
    """Which of a run's inputs open the page; none when they could not be read, or cannot be shown."""
    kept = whole(run)
    if kept is None or not originals(run).drawable:
        return []
    chosen = choose(kept.labels[kept.telling], len(kept.telling), SHOWN[run.result.modality])
    return [int(kept.telling[position]) for position in chosen]


def originals(run: Run) -> Inputs:
    """The private inputs; none when they could not be read."""
    kept, modality = whole(run), run.result.modality
    if kept is None:
        return Inputs(modality, np.zeros(0))
    drawn = pixels(kept.originals) if modality == IMAGE.name and kept.originals.ndim == 4 else kept.originals
    return Inputs(modality, drawn, legend=read_legend(kept.legend))


def rebuilt_by(run: Run, label: str, deployment: str) -> Inputs | None:
    """What an attack rebuilt of each private input; None where the record has none."""
    kept, true = whole(run), originals(run)
    rebuilt = None if kept is None else kept.by(label, deployment)
    if rebuilt is None or not true.drawable:
        return None
    drawn = pixels(rebuilt) if true.modality == IMAGE.name else rebuilt
    return Inputs(true.modality, drawn, true.values, true.legend)


def unreadable(run: Run) -> Html:
    """What stands where inputs cannot be shown."""
    return el("p", f"The {kind_of(run.result.modality).many} of this run could not be read.", class_="empty")


def class_names(run: Run, indices: Sequence[int]) -> str:
    """The classes of the shown originals, for the alternative text."""
    pictures = whole(run)
    classes, labels = run.result.classes, pictures.labels if pictures else ()
    return ", ".join(classes[labels[i]] for i in indices if i < len(labels) and 0 <= labels[i] < len(classes))


def _originals(run: Run, indices: list[int], text: str) -> Html:
    kind = kind_of(run.result.modality)
    alt = f"{len(indices)} original {kind.many}: {class_names(run, indices)}"
    drawn = _drawn(run, originals(run), indices, alt) if indices else unreadable(run)
    reading = el("p", kind.reading, class_="cost") if kind.reading else None
    return el("div", el("div", el("h3", kind.saw), el("p", text), reading), drawn, class_="row")


def _drawn(run: Run, inputs: Inputs, indices: list[int], alt: str) -> Html:
    """Small inputs in one strip; whole photographs one by one, so that they can be large."""
    if run.pictures is None or run.pictures.tiles is None:
        return inputs.drawn(indices, alt)
    return el("div", [inputs.drawn([i], f"{alt} ({class_names(run, [i])})") for i in indices], class_="shots")


def _size(shape: tuple[int, ...]) -> str:
    """The size of a picture, when the input is one."""
    text = f" of {shape[2]} x {shape[1]} pixels" if len(shape) == 3 else ""
    return text + " in color" if text and shape[0] == 3 else text


def _verdict(group: Group, setting: Setting, indices: list[int]) -> Html:
    """One defense: its worst reconstructions, what they mean, and what the defense costs."""
    member, worst = setting.members[0], setting.worst
    heading = el("h3", group.kind.rebuilds, el("span", dot(setting.color), setting.label))
    if worst is None:
        return el("div", el("div", heading, el("p", "No attack was run."), _cost(group, setting)), class_="row")
    plain_words = group.kind.told(attack_words(worst.attack))
    leaked = el("strong", f"{LEAKAGE_GAIN.value(setting.leakage.value)} leaked")
    sentences = [leaked, f" to the worst attack, {worst.label}", f" ({plain_words})." if plain_words else "."]
    sentences.append(_identified(setting, group.kind))
    picture = unreadable(member.run)
    if indices and (rebuilt := rebuilt_by(member.run, worst.label, worst.deployment)) is not None:
        alt = f"Reconstructions by {worst.label} with {setting.label} of: {class_names(member.run, indices)}"
        picture = _drawn(member.run, rebuilt, indices, alt)
    return el("div", el("div", heading, el("p", sentences), _cost(group, setting)), picture, class_="row")


def _identified(setting: Setting, kind: Kind) -> str:
    """How often the input is picked from a list, and by what."""
    found, share = setting.identifier, setting.identified
    if found is None or not math.isfinite(share.value):
        return ""
    among = f"{found.candidates:,} candidates" if found.candidates else "all candidates"
    in_pixels = found.how == PIXELS
    way = f"by the {kind.many} of {found.label}" if in_pixels else "by what the device makes of each candidate"
    after = f", after {found.n_releases} transmissions of it" if found.n_releases > 1 else ""
    return f" The right {kind.one} is picked from {among} in {IDENTIFIED.value(share.value)} of cases, {way}{after}."


def _cost(group: Group, setting: Setting) -> Html:
    """What the answers are worth without and with the defense, and the time that the defense itself takes."""
    return el("p", f"{compared(setting)}. ", _time(group, setting), class_="cost")


def _time(group: Group, setting: Setting) -> str:
    """The time of one answer on the first deployment, and how much of it the defense itself takes.

    What a defense adds to the whole is said only where it took turns with the undefended model: else the time without
    it was measured at another moment, beside other work.
    """
    p50 = setting.time_ns()
    if p50 is None:
        return ""
    where = f" over {setting.deployments[0]}" if len(group.deployments) > 1 else ""
    text = f"An answer{where} takes {duration(p50)} (p50)"
    protect = setting.time_ns(stage="protect")
    if setting.undefended or protect is None:
        return f"{text}."
    text += f"; the defense itself takes {duration(protect)} on the device."
    added = setting.added_ns()
    if added is None:
        return text
    interval = f"95 % interval {duration(added.low)} to {duration(added.high)}, {added.n} rounds"
    found = {1: f"adds {duration(added.value)} to a request", -1: f"takes {duration(-added.value)} from a request"}
    measured = found.get(sign(added), f"changes a request by {duration(added.value)}, not told apart from nothing")
    return f"{text} Measured in turns with the undefended model, it {measured} ({interval})."


def in_one_sentence(group: Group) -> str:
    """The result in words: the baseline, and the defenses that leak least, as far as the intervals tell them apart."""
    bare = group.undefended
    text = ""
    if bare and math.isfinite(bare.leakage.value):
        gain = LEAKAGE_GAIN.value(bare.leakage.value)
        text = f"Without a defense, the worst attack recovers {gain} of {group.kind.apart}."
    defended = [s for s in group.settings if not s.undefended and math.isfinite(s.leakage.value)]
    if not defended:
        return text
    best = min(defended, key=lambda s: s.leakage.value)
    close = [s for s in defended if s is not best and sign(s.less_leakage(best)) <= 0]
    close += [bare] if bare and sign(bare.less_leakage(best)) <= 0 else []
    gain = LEAKAGE_GAIN.value(best.leakage.value)
    text += f" The lowest leakage gain of a defense is {gain}, that of {best.label}"
    text += f"; it is not told apart from that of {', '.join(s.label for s in close)}." if close else "."
    return f"{text.strip()} {what_is_left(best)}"
