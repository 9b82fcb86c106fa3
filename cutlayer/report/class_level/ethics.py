"""Whose pictures a page shows, under which terms, and why."""

from __future__ import annotations

from typing import NamedTuple


class Origin(NamedTuple):
    """Where the pictures of a data set come from.

    Attributes:
        people: Whether a class is a person.
        whose: Who or what is to be seen, as a sentence.
        terms: Under which terms the data set was published, as a sentence.
    """

    people: bool
    whose: str
    terms: str


_LFW = Origin(
    True,
    "The faces are of public figures, cut from photographs of news agencies that were collected on the web in 2004; "
    "nobody of them was asked.",
    "Its authors (University of Massachusetts, 2007) published it for research on face verification and state no "
    "licence; the rights to the photographs are with the agencies.",
)
_OBJECTS = "No class is a person."
_SYNTHETIC = Origin(
    False, "The sound is synthesized, and no voice is that of a person.", "It is made by cutlayer itself."
)
ORIGINS = {
    "att-faces": Origin(
        True,
        "The faces are of 40 people of the Olivetti Research Laboratory in Cambridge, photographed there from 1992 to "
        "1994 for research on face recognition.",
        "The laboratory published them for research and asks that AT&T Laboratories Cambridge is credited.",
    ),
    "lfw": _LFW,
    "lfw-32": _LFW,
    "mnist": Origin(
        False,
        "The digits were written by employees of the US Census Bureau and by high-school students; who wrote which is "
        "not published, and a class is a digit.",
        "The samples are from NIST's Special Databases 1 and 3.",
    ),
    "digits": Origin(
        False, "The digits were written by 43 people; a class is a digit.", "UCI publishes them under CC BY 4.0."
    ),
    "fashion-mnist": Origin(False, f"The pictures are of a shop's articles. {_OBJECTS}", "MIT licence."),
    "cifar10": Origin(False, f"The pictures were collected on the web. {_OBJECTS}", "No licence is stated."),
    "cifar100": Origin(False, "The pictures were collected on the web; some classes are of people, none is a person.",
                       "No licence is stated."),
    "tones": _SYNTHETIC,
    "voices": _SYNTHETIC,
}  # fmt: skip
"""Where the pictures of each data set come from, by its name."""
OTHER = Origin(
    False,
    "The pictures are of a data set that is not part of cutlayer, and what a class is cannot be said here.",
    "Where people are to be seen, show this page to nobody whom they have not agreed to.",
)
WHY = (
    "They are shown because figures alone cannot say whether a recovered picture resembles anybody. Beside each stands "
    "a real picture from the training samples, which is what the attack must never give away."
)


def origin(data: str) -> Origin:
    """Where the pictures of a data set come from."""
    return ORIGINS.get(data, OTHER)
