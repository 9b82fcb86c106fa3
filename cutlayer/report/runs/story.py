"""The opening of the page: what leaks, what the defense changed and what it cost, for someone new to the field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.modality import IMAGE
from cutlayer.records.reading import Run
from cutlayer.records.reconstructions import Reconstructions
from cutlayer.report.kit.markup import Html, dot, el
from cutlayer.report.kit.pictures import choose, strip
from cutlayer.report.kit.wording import ACCURACY, DASH, LEAKAGE_GAIN, attack_words, duration, points, size
from cutlayer.report.runs.groups import Group, Member

SHOWN = 6  # pictures in a strip
NO_PICTURE = el("p", "The pictures of this run could not be read.", class_="empty")


def opening() -> Html:
    """An introduction to split learning and to the question of the page."""
    return el(
        "header",
        el("p", "cutlayer", class_="product"),
        el("h1", "What can the server see?"),
        el(
            "p",
            "A camera runs the first layers of a neural network itself and sends their output to a server, which runs "
            "the rest and answers what is in the picture. The picture never leaves the camera. But the numbers that "
            "are sent describe it, and whoever runs the server may try to turn them back into the picture.",
            class_="lead",
        ),
        el(
            "p",
            "This page shows how well that works, how much a defense on the camera hinders it, and what the defense "
            "costs in accuracy and time. Dividing a network like this is called split learning or collaborative "
            "inference; the place of division is the cut, and what is sent there is the smashed data.",
        ),
    )


def pictures_first(group: Group) -> Html:
    """The originals, and below them what the worst attack makes of them under each defense."""
    result, reference = group.first.result, group.members[0]
    sent = f"{group.smashed_size:,} numbers"
    if result.cost and result.cost[0].tensor_bytes is not None:
        sent += f" ({size(result.cost[0].tensor_bytes)})"
    indices = shown(reference.run, SHOWN)
    tiles = reference.run.pictures.tiles if reference.run.pictures else None
    about = f"Private pictures{_size(result.input)}, which the attacker had never seen."
    if tiles:
        about = (
            f"Photographs on which neither the network nor the attacker was trained. Each is sent as {prod(tiles)} "
            f"tiles{_size(result.input)}, which are laid together again here. Beside it stands what the worst attack "
            "makes of it: the one with the highest leakage gain over all tiles."
        )
    rows = [_originals(reference.run, indices, about)]
    for member in group.members:
        same = np.array_equal(originals(member.run), originals(reference.run))
        own = indices if same else shown(member.run, SHOWN)
        if not same:
            rows.append(_originals(member.run, own, f"The pictures of the run with {member.label}."))
        rows.append(_verdict(group, member, own))
    return el(
        "section",
        el(
            "p",
            f"For each {'tile' if tiles else 'picture'} the camera sends {sent}. ",
            _in_one_sentence(group),
            class_="lead",
        ),
        el("div", rows, class_="story photographs" if tiles else "story"),
    )


def whole(run: Run) -> Reconstructions | None:
    """The pictures of a run; whole photographs where its private pictures are their tiles."""
    return None if run.pictures is None else run.pictures.whole()


def shown(run: Run, count: int) -> list[int]:
    """Which of a run's pictures are shown; none when they could not be read, or are no pictures."""
    pictures = whole(run)
    if pictures is None or pictures.originals.ndim != 4:
        return []
    chosen = choose(pictures.labels[pictures.telling], len(pictures.telling), count)
    return [int(pictures.telling[position]) for position in chosen]


def originals(run: Run) -> NDArray[np.uint8]:
    """The private pictures, ``(N, C, H, W)``; none when they could not be read."""
    pictures = whole(run)
    return np.zeros((0, 1, 1, 1), np.uint8) if pictures is None else _pixels(pictures.originals)


def rebuilt_by(run: Run, label: str, deployment: str) -> NDArray[np.uint8] | None:
    """What an attack rebuilt of each private picture; None where the record has none."""
    pictures = whole(run)
    rebuilt = None if pictures is None else pictures.by(label, deployment)
    return None if rebuilt is None else _pixels(rebuilt)


def _pixels(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Pictures as they are drawn; the first version of cutlayer recorded them so."""
    return images if images.dtype == np.uint8 else IMAGE.pixels(images.astype(np.float32))


def class_names(run: Run, indices: Sequence[int]) -> str:
    """The classes of the shown originals, for the alternative text."""
    pictures = whole(run)
    classes, labels = run.result.classes, pictures.labels if pictures else ()
    return ", ".join(classes[labels[i]] for i in indices if i < len(labels) and 0 <= labels[i] < len(classes))


def _originals(run: Run, indices: list[int], text: str) -> Html:
    alt = f"{len(indices)} original pictures: {class_names(run, indices)}"
    picture = _drawn(run, originals(run), indices, alt) if indices else NO_PICTURE
    return el("div", el("div", el("h3", "What the camera saw"), el("p", text)), picture, class_="row")


def _drawn(run: Run, images: NDArray[np.uint8], indices: list[int], alt: str) -> Html:
    """Small pictures side by side in one strip; whole photographs one by one, so that they can be large."""
    if run.pictures is None or run.pictures.tiles is None:
        return strip(images, indices, alt)
    return el("div", [strip(images, [i], f"{alt} ({class_names(run, [i])})") for i in indices], class_="shots")


def _size(shape: tuple[int, ...]) -> str:
    """The size of a picture, when the input is one."""
    text = f" of {shape[2]} x {shape[1]} pixels" if len(shape) == 3 else ""
    return text + " in color" if text and shape[0] == 3 else text


def _verdict(group: Group, member: Member, indices: list[int]) -> Html:
    """One defense: its worst reconstructions, what they mean, and what the defense costs."""
    run, worst = member.run, member.run.result.worst_case
    heading = el("h3", "What the server rebuilds", el("span", dot(member.color), member.label))
    if worst is None:
        return el("div", el("div", heading, el("p", "No attack was run."), _cost(group, member)), class_="row")
    plain_words = attack_words(worst.attack)
    leaked = el("strong", f"{LEAKAGE_GAIN.value(worst.leakage_gain.value)} leaked")
    sentences = [leaked, f" to the worst attack, {worst.label}", f" ({plain_words})." if plain_words else "."]
    identified = worst.metrics.get("identification")
    if identified and math.isfinite(identified.value):
        among = f"{run.result.candidates:,} candidates" if run.result.candidates else "all candidates"
        share = ACCURACY.value(identified.value)
        sentences.append(f" Its pictures point to the right original among {among} in {share} of cases.")
    picture = NO_PICTURE
    if indices and (rebuilt := rebuilt_by(run, worst.label, worst.deployment)) is not None:
        alt = f"Reconstructions by {worst.label} with {member.label} of: {class_names(run, indices)}"
        picture = _drawn(run, rebuilt, indices, alt)
    return el("div", el("div", heading, el("p", sentences), _cost(group, member)), picture, class_="row")


def _cost(group: Group, member: Member) -> Html:
    """Accuracy and time, against the undefended baseline where there is one."""
    result = member.run.result
    accuracy = f"Accuracy {ACCURACY.value(result.utility.accuracy.value)}"
    if not result.undefended:
        accuracy += f", {_more_or_less(result.change)} without a defense"
    return el("p", accuracy, _time(group, member.run), ".", class_="cost")


def _more_or_less(change: float) -> str:
    text = points(change)
    return "the same as" if text in ("0.0", DASH) else f"{text[1:]} points {'more' if change > 0 else 'less'} than"


def _time(group: Group, run: Run) -> str:
    """The time of one answer on the first deployment, and how much of it the defense takes."""
    p50 = run.result.cost[0].end_to_end.get("p50") if run.result.cost else None
    if p50 is None:
        return ""
    text = f"; an answer takes {duration(p50)}"
    bare = group.undefended.result.cost if group.undefended and group.undefended is not run else ()
    same = (cost.end_to_end.get("p50") for cost in bare if cost.deployment == run.result.cost[0].deployment)
    before = next(same, None)
    return text if before is None else f"{text}, {duration(abs(p50 - before))} {'more' if p50 >= before else 'less'}"


def _in_one_sentence(group: Group) -> str:
    """The result in words: the baseline against the defense that leaks least."""
    bare = group.undefended.result.worst_case if group.undefended else None
    text = ""
    if bare:
        gain = LEAKAGE_GAIN.value(bare.leakage_gain.value)
        text = f"Without a defense, the worst attack recovers {gain} of what sets a picture apart from the average one."
    defended = [m for m in group.members if m.run.result.worst_case and not m.run.result.undefended]
    if defended:
        best = min(defended, key=lambda m: _gain(m.run))
        gain = LEAKAGE_GAIN.value(_gain(best.run))
        text += f" Of the defenses on this page, {best.label} leaks least: {gain}, {_price(best.run)}."
    return text


def _price(run: Run) -> str:
    text = points(run.result.change)
    if text in ("0.0", DASH):
        return "at no loss of accuracy"
    return f"at {'a gain' if run.result.change > 0 else 'the price'} of {text[1:]} points of accuracy"


def _gain(run: Run) -> float:
    worst = run.result.worst_case
    return worst.leakage_gain.value if worst and not math.isnan(worst.leakage_gain.value) else math.inf
