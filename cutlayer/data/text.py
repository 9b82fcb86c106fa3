"""From text to the ids of tokens and back, by a tokenizer in the format of the library `tokenizers`.

The id `cutlayer.sequences.PAD` stands for no token in all that cutlayer computes. Where a vocabulary has a token of its
own there, as that of GPT-2 does, all ids are greater by one than the tokenizer's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cutlayer.bounded import MOST_JSON_BYTES, parse_json, read_text, reason
from cutlayer.data.modality import Modality, tokens
from cutlayer.errors import ConfigError, DataError
from cutlayer.sequences import PAD

if TYPE_CHECKING:
    import tokenizers

PADDING = ("[PAD]", "<pad>", "<PAD>")
"""Names of a token that stands for no token."""
MOST_TOKENS = 1 << 20
"""Tokens of a vocabulary, at most."""


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer, opened.

    Attributes:
        text: The content of its `tokenizer.json`.
        source: Where it was read, for messages.
    """

    text: str
    source: str

    @cached_property
    def _opened(self) -> tokenizers.Tokenizer:
        try:
            import tokenizers
        except ImportError:
            raise ConfigError("Text needs the package tokenizers: pip install 'cutlayer[text]'.") from None
        try:
            opened = tokenizers.Tokenizer.from_str(self.text)
        except Exception as error:  # the library raises no kind of its own
            raise DataError(f"{self.source} is no tokenizer ({reason(error)}); copy it again.") from None
        opened.no_padding()
        opened.no_truncation()
        return opened

    @cached_property
    def _stated(self) -> dict[int, str]:
        """The token of each id, from the file alone, which takes no library."""
        try:
            stated = parse_json(self.text.encode())
            listed = stated["model"]["vocab"]
            if isinstance(listed, list):
                listed = {str(word): i for i, (word, *_) in enumerate(listed)}
            by_id = {int(i): str(word) for word, i in listed.items()}
            return by_id | {int(one["id"]): str(one["content"]) for one in stated.get("added_tokens") or []}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{self.source} is no tokenizer ({reason(error)}); copy it again.") from None

    @property
    def shift(self) -> int:
        """What is added to the tokenizer's ids: 0 where its first token is padding, else 1."""
        return 0 if self._stated.get(PAD) in PADDING else 1

    @cached_property
    def size(self) -> int:
        """Ids from 0 to the greatest, that of no token included."""
        greatest = max(self._stated, default=0)
        if not 0 < greatest < MOST_TOKENS or min(self._stated) < 0:
            raise DataError(f"{self.source} has ids up to {greatest:,}; 2 to {MOST_TOKENS:,} tokens are read.")
        return 1 + greatest + self.shift

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The token of each id, as the vocabulary writes it."""
        stated = self._stated
        return tuple(stated.get(i - self.shift, "") for i in range(self.size))

    @property
    def marks(self) -> tuple[int, ...]:
        """The ids that stand in each sentence at known places, such as its beginning: those of an empty text."""
        return tuple(int(i) + self.shift for i in self._opened.encode("").ids)

    @cached_property
    def unknown(self) -> int | None:
        """The id that stands for each word outside the vocabulary; None where every text has tokens of its own."""
        model = parse_json(self.text.encode())["model"] if self._stated else {}
        named, number = model.get("unk_token"), model.get("unk_id")
        if number is None:
            number = next((i for i, word in self._stated.items() if word == named), None)
        return int(number) + self.shift if isinstance(number, int) else None

    @property
    def modality(self) -> Modality:
        """The kind of inputs that this tokenizer makes."""
        unknown = () if self.unknown is None else (self.unknown,)
        return tokens(len(self.words), tuple(dict.fromkeys((*self.marks, *unknown))))

    def ids(self, texts: Sequence[str], length: int) -> NDArray[np.int64]:
        """The ids of the tokens of each text, ``(N, length)``, padded; what is longer is cut off."""
        opened = self._opened
        # What stands at the end of each text, such as [SEP], stays where the text is cut off.
        if length > opened.num_special_tokens_to_add(is_pair=False):
            opened.enable_truncation(length)
        encoded = opened.encode_batch(list(texts))
        opened.no_truncation()
        whole = np.full((len(encoded), length), PAD, np.int64)
        for row, one in zip(whole, encoded, strict=True):
            own = np.array(one.ids[:length], np.int64) + self.shift
            # Who types the name of padding has said nothing, and nothing may stand for no token inside a sentence.
            own = own[own != PAD]
            row[: len(own)] = own
        return whole

    def read(self, ids: NDArray[np.integer]) -> str:
        """The text of the ids of one sentence, without padding and without tokens that stand for no text."""
        own = [int(i) - self.shift for i in ids if i != PAD]
        text: str = self._opened.decode(own)
        return text


def open_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a file.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        return Tokenizer(read_text(path, MOST_JSON_BYTES), str(path))
    except (OSError, ValueError) as error:
        raise DataError(f"The tokenizer {path} cannot be read: {reason(error)}.") from None
