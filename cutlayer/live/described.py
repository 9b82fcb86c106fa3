"""What a phone has to know of the split, so that it sends what a device in Python sends."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from cutlayer.data.text import Tokenizer
from cutlayer.defenses.base import Defense, deployed
from cutlayer.defenses.local_dp import LocalDP
from cutlayer.models.manifest import tail_name
from cutlayer.registry import defense_from, defense_names
from cutlayer.split_folder import SplitFolder

PROBES = (
    "The event loop waits for a coroutine, doesn't it?",
    "foo_bar(x) == [1, 2.50]; naïve CAFÉ e\u0301 straße İ ΟΔΟΣ",
    "中文 和 𠀀𠀁 日本語かな 한국어 हिन्दी עברית 😀👩‍👩‍👧",
    "tab\tline\nno\u00a0break\u2003wide \u00ad\u200b\ufeff\x07bell ﬁ ½ ² “so” – … €5",
    "antidisestablishmentarianism " + 120 * "x",
    "  [PAD]<pad>[UNK] [CLS]</s> the end",
)
"""Texts in which tokenizers differ. A phone compares the tokens that it makes of them with ours."""

LEARNED = {"local-dp"}
"""Defenses of which a browser takes what they have learned."""


def described(split: SplitFolder) -> dict[str, Any]:
    """What a phone is told of the split.

    ``defenses`` are those of the split that act on the device, in their order. ``text`` is None for pictures; for
    sentences it has ``shift``, which is added to the tokenizer's ids, and ``probes``: texts and their ids.

    Raises:
        ConfigError: The split takes sentences, and the package tokenizers is not installed.
        SplitError: What the defense learned is missing or damaged.
    """
    manifest, tokenizer = split.manifest, split.tokenizer if split.manifest.sequence else None
    names = tuple(defense_names(manifest.defense))
    # What is learned is loaded only where a browser uses it.
    defense: Defense = deployed(split) if LEARNED & set(names) else defense_from(manifest.defense)
    parts = zip(names, defense.parts, strict=True)
    defenses = [{"defense": name, "options": _options(part)} for name, part in parts if part.protects]
    return {
        "model": tail_name(manifest),
        "version": manifest.version,
        "input": list(manifest.input.shape),
        "smashed": list(manifest.smashed.shape),
        "text": tokenizer and {"shift": tokenizer.shift, "probes": _probes(tokenizer, manifest.input.shape[0])},
        "defenses": defenses,
    }


def _options(part: Defense) -> dict[str, Any]:
    """The options of a defense, with what it learned where a browser needs it."""
    options = {field.name: getattr(part, field.name) for field in fields(part) if field.init}
    return options | part.fixed if isinstance(part, LocalDP) else options


def _probes(tokenizer: Tokenizer, length: int) -> list[tuple[str, list[int]]]:
    ids = tokenizer.ids(PROBES, length)
    return [(text, [int(i) for i in np.trim_zeros(own, "b")]) for text, own in zip(PROBES, ids, strict=True)]
