"""Sentences for the page: what was said as text, and what was read with the wrong tokens marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.words import UNKNOWN, Piece
from cutlayer.report.kit.markup import Html, el, small
from cutlayer.sequences import PAD, lengths

MOST_TOKENS = 60
"""Tokens of a sentence that are shown."""
NOTHING = "\N{EMPTY SET}"
"""Shown where an attack read no token in the place of one."""
WHAT = "‹?›"
"""Shown for a word that the vocabulary does not know."""
_CLOSING, _OPENING = frozenset(".,;:!?)]}%"), frozenset("([{")


class Token(NamedTuple):
    """One token of what was read: its text, whether it follows without a space, whether it is wrong, and counts."""

    text: str
    glued: bool
    wrong: bool
    counts: bool


class Reading(NamedTuple):
    """A sentence as it is shown: its first tokens, how many follow, and of the n that count how many are right."""

    tokens: list[Token]
    more: int
    right: int
    n: int


def sentences(
    ids: NDArray[Any], indices: Sequence[int], pieces: Mapping[int, Piece], label: str,
    truth: NDArray[Any] | None = None,
) -> Html:  # fmt: skip
    """Some of the sentences below each other, numbered; with the truth the wrong tokens are marked and the right told.

    Args:
        ids: ``(N, T)`` ids of tokens, padded.
        indices: Numbers of the sentences to show.
        pieces: How each token is written.
        label: What they are, for those who do not see them.
        truth: What was said, ``(N, T)``; None where these sentences are it, or it is unknown.
    """
    items = []
    for index in indices:
        found = reading(ids[index], pieces, None if truth is None else truth[index])
        told = None if truth is None else f"{found.right:,} of {found.n:,} tokens right"
        items.append(el("li", _written(found), small(told)))
    return el("ol", items, class_="sentences", aria_label=label)


def reading(ids: NDArray[Any], pieces: Mapping[int, Piece], truth: NDArray[Any] | None = None) -> Reading:
    """One sentence, ``(T,)``, token by token, as far as the truth goes; marks such as [CLS] are left out.

    In the place of a word outside the vocabulary there is nothing to read, so that `WHAT` stands there, right or wrong.
    """
    held = ids if truth is None else truth
    tokens = list[Token]()
    for read, said in zip(ids[: int(lengths(held[None])[0])].tolist(), held.tolist(), strict=False):
        if (known := pieces.get(said)) is not None and not known.says:
            continue
        counts = known is None or known.counts
        if not counts:
            read = said
        piece = pieces.get(read, Piece(f"#{read}", False, True))
        text = NOTHING if read == PAD else WHAT if piece.text in UNKNOWN else piece.text
        closes = text in _CLOSING or (bool(tokens) and tokens[-1].text in _OPENING and not tokens[-1].wrong)
        closes &= read == said  # what is wrong stands apart from what is right
        # A part of a word that is wrong goes on the word before it where a part of that belongs.
        goes_on = piece.glued and read != PAD and (read == said or known is None or known.glued)
        tokens.append(Token(text, goes_on or closes, read != said, counts))
    right = sum(token.counts and not token.wrong for token in tokens)
    n = sum(token.counts for token in tokens)
    return Reading(tokens[:MOST_TOKENS], max(0, len(tokens) - MOST_TOKENS), right, n)


def shares(ids: NDArray[Any], truth: NDArray[Any], pieces: Mapping[int, Piece]) -> NDArray[np.float64]:
    """The share of the tokens of each sentence that were read rightly, ``(N, T)`` each, to ``(N,)``."""
    counted = (truth != PAD) & ~np.isin(truth, [number for number, piece in pieces.items() if not piece.counts])
    found: NDArray[np.float64] = ((ids == truth) & counted).sum(1) / np.maximum(counted.sum(1), 1)
    return found


def _written(found: Reading) -> list[object]:
    """Runs of right tokens as they are, and runs of wrong ones marked."""
    parts: list[object] = []
    for wrong, run in groupby(found.tokens, key=lambda token: token.wrong):
        tokens = list(run)
        text = "".join(token.text if token.glued or not i else f" {token.text}" for i, token in enumerate(tokens))
        if parts and not tokens[0].glued:
            parts.append(" ")
        parts.append(marked(text) if wrong else text)
    if found.more:
        parts.append(f" … and {found.more:,} more tokens")
    return parts


def marked(text: str) -> Html:
    """What is wrong: underlined, and in brackets for those who do not see that."""
    bracket = "unseen"
    return el("span", el("span", "[", class_=bracket), text, el("span", "]", class_=bracket), class_="wrong")
