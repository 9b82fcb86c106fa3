"""The opening of a study of class-level inversion, for someone new to the field: what was found, and its meaning."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cutlayer.records import class_level as records
from cutlayer.records.class_level import CEILING
from cutlayer.records.run import Estimate
from cutlayer.report.class_level.ethics import WHY, origin
from cutlayer.report.class_level.flags import SHARE
from cutlayer.report.class_level.groups import HALF, NEAREST, Cell, Group, Who, plain_words, who_text
from cutlayer.report.kit.markup import Html, el, note, section
from cutlayer.report.kit.pictures import beside, strip

OWN = (NEAREST, "mean-auxiliary")
"""Floors that show the attacker's own samples, and so nothing of the victim's."""
FEW, IN_A_ROW = 6, 10
"""Up to so many classes, each is shown more than once; pictures of a row."""
GETS = {
    "label": "the label that the model answers to each picture",
    "scores": "the probabilities that the model answers to each picture",
    "weights": "the model's weights",
}
HELD = {"From its answers alone": ("label", "scores"), "From its weights": ("weights",)}
"""What an attacker has of the model, and the access of the attacks that make do with it."""
PIXELWISE = ("pixels", "mean-image")
"""Priors that take any picture for possible."""


def recovered(group: Group) -> Html | None:
    """What the best attacks on the first victim show of each class, beside real pictures, each with a verdict."""
    who = group.main
    found = [(title, cell) for title, accesses in HELD.items() if (cell := group.worst(who, *accesses)) is not None]
    if not found:
        return None
    claims = list(dict.fromkeys(r.claim.strip() for r in group.records if r.claim))
    return section(
        "What the model gave away",
        [el("p", claim, class_="claim") for claim in claims],
        [_shown(group, who, cell, title if len(found) > 1 else "") for title, cell in found],
        ethics(group),
    )


def _shown(group: Group, who: Who, cell: Cell, title: str) -> Html:
    """The verdict on one attack, its pictures beside real ones, and how far to believe it."""
    rows, told = _rows(group, cell), plain_words(cell.first.attack)
    named = f"The attack \u201c{cell.first.label}\u201d {told}. " if told else f"{cell.first.label}. "
    pictures_of = note(
        f"{named}Shown are the first pictures of {_names(group, cell)} ({who_text(who)}, seed {cell.first.seed}); none "
        "was chosen by a judge. Nearest is measured in the features of the first judge, and not pixel by pixel."
    )
    return el(
        "div",
        el("h3", title) if title else None,
        el("p", verdict(group, who, cell), class_="lead"),
        el("div", rows, class_="recovered") if rows else None,
        pictures_of if rows else None,
        el("p", belief(group, who, cell)),
        class_="held",
    )


def verdict(group: Group, who: Who, cell: Cell) -> str:
    """What the figures say, in plain words."""
    people = origin(group.first.data).people
    agreed, floor = cell.metric("agreed"), _floor(group, who, cell)
    assert agreed is not None
    these = f"these {_classes(len(group.first.targets), people)}"
    had = f"The attacker has pictures of {these} of its own" if group.shared else (
        f"Nobody showed the attacker a picture of {these}"
    )  # fmt: skip
    asked = f", asked {cell.per_class:,.0f} times for each {'person' if people else 'class'}" if cell.per_class else ""
    told = (
        f"{had}. It got {GETS[cell.first.access]}{asked}, and drew what stands in the first row. Two judges, networks "
        f"that have seen all {'people' if people else 'classes'} and that no attack can reach, both recognize the "
        f"right {'person' if people else 'class'} in {SHARE.value(agreed.value)} of its pictures"
    )
    if shared_out := _shared_out(cell, people):
        told += f": {shared_out}"
    if not floor:
        return f"{told}."
    name, share, asks = floor
    told += f". The best that needs no search, {name}, reaches {SHARE.value(share.value)}"
    if agreed.value <= share.value:
        return f"{told}, so that {'the search added nothing' if asks else 'nothing was given away here'}."
    surely = "." if agreed.low > share.high else ", if it is no chance: there are few classes."
    return f"{told}; what is above it, the attack has found in the model{surely}"


def belief(group: Group, who: Who, cell: Cell) -> str:
    """How far the verdict can be believed."""
    agreed, real, closed = cell.metric("agreed"), group.cell(who, CEILING), cell.metric("closed")
    assert agreed is not None
    people, interval = origin(group.first.data).people, SHARE.interval(agreed)
    over = f"classes and {len(cell.records)} seeds" if len(cell.records) > 1 else "classes"
    parts = [f"the 95 % interval over {over} is {interval} %" if interval else "there is no interval"]
    if real is not None and (share := real.metric("agreed")) is not None:
        parts.append(
            f"of real pictures that the model was not trained on, the judges recognize {SHARE.value(share.value)}"
        )
    control = next((r.control for r in cell.records if r.control is not None), None)
    if control is not None:
        parts.append(
            "of what the same attack draws for an output that the model never learned, they take "
            f"{SHARE.value(control.named)} for one of its {'people' if people else 'classes'}"
        )
    text = f"How far to believe it: {'; '.join(parts)}."
    rivals = len([one for one in group.cells(who) if _held(one) == _held(cell)])
    if rivals > 1:
        text += f" It is the best of {rivals} attacks, chosen by these very figures, so that other data may show less."
    if closed is not None:
        text += (
            f" A judge that may only name the victim's classes, as in most papers, says {SHARE.value(closed.value)}, "
            f"and {_closed_floor(group, who)}."
        )
    return text + _distance(cell, agreed) + _eye(cell)


def _shared_out(cell: Cell, people: bool) -> str:
    """How the share lies over the classes: an average hides that some are given away whole, and some not at all."""
    by_class = cell.by_class
    if len(by_class) < 2:
        return ""
    most, none, known = cell.given_away, sum(not share for share in by_class.values()), len(by_class)
    told = f"{most} of {_classes(known, people)} in most of their pictures"
    if none:
        return f"{told}, {none} in none"
    name, least = min(by_class.items(), key=lambda one: one[1])
    return f"{told}, and {name} least ({SHARE.value(least)})"


def _distance(cell: Cell, agreed: Estimate) -> str:
    gain = cell.metric("distance gain")
    if gain is None:
        return ""
    if gain.value > 0:
        return " In the judge's features the pictures are nearer to the training samples than the attacker's nearest."
    no_portraits = ": they carry what a network recognizes, and are no portraits" * (agreed.value >= HALF)
    return (
        " In the judge's features the pictures are farther from the training samples than the attacker's nearest "
        f"samples are{no_portraits}."
    )


def _eye(cell: Cell) -> str:
    """That judges are no eyes."""
    if cell.first.prior in PIXELWISE:
        return (
            " The attack changes single pixels and does not know what a picture looks like, so that judges, which are "
            "networks as the model is, may recognize noise in which nobody would recognize anything. Look at the row."
        )
    return " A judge is a network: whether a human recognizes anything, only the row above can tell."


def _held(cell: Cell) -> str:
    return next(title for title, accesses in HELD.items() if cell.first.access in accesses)


def _classes(n: int, people: bool) -> str:
    return f"{n} {'people' if people else 'classes'}"


def _closed_floor(group: Group, who: Who) -> str:
    nearest = group.cell(who, NEAREST)
    share = nearest.metric("closed") if nearest is not None else None
    if share is None:
        return "also calls strangers right"
    own = "are of the same classes" if group.shared else "show none of them"
    return f"it says {SHARE.value(share.value)} of the attacker's own nearest samples, which {own}"


def _floor(group: Group, who: Who, cell: Cell) -> tuple[str, Estimate, bool] | None:
    """The highest of what an attacker reaches who searches nothing: its name, the share, and whether answers choose."""
    named = [("asking as often about the same prior", cell.metric("agreed", sampled=True), True)]
    for floor in group.cells(who, floors=True):
        if floor.first.attack != CEILING:
            what = "showing the attacker's own nearest pictures" if floor.first.attack == NEAREST else floor.first.label
            named.append((what, floor.metric("agreed"), floor.first.attack not in OWN))
    found = [(name, share, asks) for name, share, asks in named if share is not None]
    return max(found, key=lambda one: one[1].value, default=None)


def _rows(group: Group, cell: Cell) -> list[Html]:
    kept = pictures(group, cell)
    titles = {
        "rebuilt": ("recovered", "by the attacker"),
        "private": ("nearest private", "a training sample, which the attacker has never seen"),
        "auxiliary": ("nearest own" if group.shared else "nearest stranger", "of the attacker's own samples"),
    }
    rows = [
        beside(*titles[name], strip(kept[name], range(len(kept[name])), f"{titles[name][0]}: {_names(group, cell)}"))
        for name in titles
        if name in kept
    ]
    recognized = _recognized(group, cell)
    return [*rows[:1], recognized, *rows[1:]] if rows and recognized is not None else rows


def _recognized(group: Group, cell: Cell) -> Html | None:
    """Below each class that is shown, how many of all of its pictures both judges recognize."""
    first = cell.first
    shares = first.score.by_class.get("agreed", ()) if first.score is not None else ()
    chosen = [int(k) for k in records.pictures(group.folder, first).get("classes", ())] if group.folder else []
    if not chosen or max(chosen) >= len(shares):
        return None
    each = [el("span", f"{100 * shares[k]:.0f}") for k in chosen]
    return beside("recognized", "% of the pictures of each, by both judges", el("div", each, class_="shares"))


def pictures(group: Group, cell: Cell) -> dict[str, NDArray[np.uint8]]:
    """The pictures of a cell's first seed that fill a row, ``(N, C, H, W)`` by name; nothing where there are none."""
    kept = records.pictures(group.folder, cell.first) if group.folder is not None else {}
    if not {"rebuilt", "private", "auxiliary"} <= kept.keys():
        return {}
    drawn = {}
    for name in ("rebuilt", "private", "auxiliary"):
        images = kept[name][:, : _each(len(kept[name]))]
        whole = np.rint(images.astype(np.float32).clip(0, 1) * 255).astype(np.uint8)
        drawn[name] = whole.reshape(-1, *whole.shape[2:])
    return drawn


def _each(classes: int) -> int:
    return IN_A_ROW // classes if classes <= FEW else 1


def _names(group: Group, cell: Cell) -> str:
    kept = records.pictures(group.folder, cell.first) if group.folder is not None else {}
    chosen = kept["classes"].tolist() if "classes" in kept else range(len(cell.first.targets))
    return ", ".join(cell.first.targets[int(k)] for k in chosen if 0 <= int(k) < len(cell.first.targets))


def ethics(group: Group) -> Html:
    """Whose pictures these are, under which terms, and why they are shown."""
    found = origin(group.first.data)
    box = el("p", el("b", "Whose pictures these are. "), f"{found.whose} {found.terms} {WHY}")
    return el("aside", box, class_="ethics")


def opening() -> Html:
    """An introduction to class-level inversion, for a page that shows nothing else."""
    return el(
        "header",
        el("p", "cutlayer", class_="product"),
        el("h1", "What does a model tell of those it was trained on?"),
        el(
            "p",
            "A model that recognizes people answers every picture with how surely it is one of them. An attacker "
            "who asks often enough, or holds the model, can search for the picture that the model is surest of, "
            "and may find a face.",
            class_="lead",
        ),
        el("p", "This page shows what published attacks recover, beside what needs no attack at all."),
    )
