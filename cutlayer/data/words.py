"""How the tokens of a vocabulary are written for people: what each says, and whether it continues the word before it.

A vocabulary writes its tokens for programs: `##ing` continues a word in that of BERT, `Ġthe` begins one in that of
GPT-2, whose other tokens continue one, and `▁the` likewise in that of SentencePiece.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from cutlayer.foreign import shown

MOST_LETTERS = 40
"""Letters of a token that are shown."""
_MARK = re.compile(
    r"\[(CLS|SEP|PAD|MASK|BOS|EOS|unused\d+)\]|</?s>|<(pad|mask|bos|eos|cls|sep)>|<\|.*\|>", re.IGNORECASE
)
UNKNOWN = ("[UNK]", "<unk>")
"""Names of the token that stands for each word outside a vocabulary."""
_CONTINUES, _BEGINS = "##", ("\u0120", "\u2581")
_USUAL = 0.05
"""Share of a vocabulary whose tokens begin with a sign by which that sign is known to begin words."""


class Piece(NamedTuple):
    """One token as it is shown.

    Attributes:
        text: What it says; what would steer a terminal or a page is escaped.
        glued: Whether it continues the word before it, so that no space stands between them.
        says: Whether it stands for something that was said; a mark such as [CLS] stands in each sentence.
    """

    text: str
    glued: bool
    says: bool

    @property
    def counts(self) -> bool:
        """Whether it can be read: a mark and a word outside the vocabulary cannot."""
        return self.says and self.text not in UNKNOWN


def pieces(words: Sequence[str]) -> tuple[Piece, ...]:
    """How each token of a vocabulary is shown, by its id; see `cutlayer.data.text.Tokenizer.words`."""
    begins = [sign for sign in _BEGINS if sum(word.startswith(sign) for word in words) > _USUAL * len(words)]
    if begins:
        return tuple(_beginning(word, begins[0]) for word in words)
    return tuple(
        _piece(
            word.removeprefix(_CONTINUES) if len(word) > 2 else word,
            word.startswith(_CONTINUES) and len(word) > 2,
            word,
        )
        for word in words
    )


def written(known: Sequence[Piece], ids: Sequence[int]) -> str:
    """A sentence as people write it, without marks."""
    text = ""
    for piece in (known[i] for i in ids):
        if piece.says and piece.text:
            text += piece.text if piece.glued or not text else f" {piece.text}"
    return text


def _beginning(word: str, sign: str) -> Piece:
    text = word.replace(sign, " ")
    if sign == _BEGINS[0]:
        text = _of_bytes(word)
    return _piece(text.strip(" ") or text, not word.startswith(sign), word)


def _piece(text: str, glued: bool, word: str) -> Piece:
    return Piece(shown(text, MOST_LETTERS), glued, bool(word) and not _MARK.fullmatch(word))


def _of_bytes(word: str) -> str:
    """The text of a token whose letters stand for bytes; one that ends within a letter shows that by a sign."""
    try:
        return bytes(_BYTES[letter] for letter in word).decode(errors="replace")
    except KeyError:  # a token that was added to the vocabulary stands for itself
        return word


def _letters() -> dict[str, int]:
    """The byte that each letter of such a vocabulary stands for, as GPT-2 chose them: visible ones for themselves."""
    itself = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in itself)
    return {chr(byte): byte for byte in itself} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTES = _letters()
