"""A vocabulary of the most frequent words of some texts, as a tokenizer."""

import json
import re
from collections import Counter
from collections.abc import Iterable

MOST = 2048
"""Tokens of a vocabulary, with those that stand for padding and for any other word."""
PATTERN = r"\w+|[^\w\s]"
"""A word, or a sign."""


def counted(texts: Iterable[str]) -> str:
    """The content of a `tokenizer.json` of the most frequent words and signs of the texts, in lower case."""
    words = re.compile(PATTERN)
    counts = Counter(word for text in texts for word in words.findall(text.lower()))
    common = sorted(counts, key=lambda word: (-counts[word], word))[: MOST - 2]
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *common])}
    special = [
        {"id": i, "content": word, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for i, word in enumerate(("[PAD]", "[UNK]"))
    ]  # fmt: skip
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": special,
            "normalizer": {"type": "Lowercase"},
            "pre_tokenizer": {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Removed", "invert": True},
            "post_processor": None,
            "decoder": None,
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
        }
    )
