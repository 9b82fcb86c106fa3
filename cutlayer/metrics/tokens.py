"""How much of a sentence was read: its tokens in their places, its parts in their order, and its meaning.

An original holds `PAD` where nothing counts: behind its end, and in place of marks that a tokenizer puts at known
places and of words outside its vocabulary (`cutlayer.data.modality.Modality.unmarked`). What arrives tells where a
sentence ends, so that a reconstruction is compared in the places that count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from cutlayer.metrics.base import Metric
from cutlayer.sequences import PAD

if TYPE_CHECKING:
    from torch import Tensor

LONGEST_GRAM = 4
"""Tokens of the longest part of a sentence that BLEU compares."""


def right_share(reconstructions: Tensor, originals: Tensor, *_: Tensor) -> Tensor:
    """The share of the tokens of each original, ``(N, T)``, that stand in their places: ``(N,)``."""
    counted = originals != PAD
    right = (reconstructions == originals) & counted
    shares: Tensor = right.sum(1).float() / counted.sum(1).clamp(min=1)
    return shares


def wrong_share(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """The share of the tokens of each original that are wrong, ``(N,)``; 0 where none of them counts."""
    counted = originals != PAD
    wrong = (reconstructions != originals) & counted
    shares: Tensor = wrong.sum(1).float() / counted.sum(1).clamp(min=1)
    return shares


def exact(reconstructions: Tensor, originals: Tensor, *_: Tensor) -> Tensor:
    """Whether every token of each original is right, ``(N,)``: 0 or 1."""
    return (right_share(reconstructions, originals) == 1).float()


def share_of_seen(reconstructions: Tensor, originals: Tensor, _: Tensor, seen: Tensor) -> Tensor:
    """The share of all tokens that the attacker's own sentences hold, and that stand in their places: ``()``."""
    return _share_where(seen[originals], reconstructions, originals)


def share_of_unseen(reconstructions: Tensor, originals: Tensor, _: Tensor, seen: Tensor) -> Tensor:
    """The share of all other tokens that stand in their places, ``()``; not a number where there are none."""
    return _share_where(~seen[originals], reconstructions, originals)


def _share_where(chosen: Tensor, reconstructions: Tensor, originals: Tensor) -> Tensor:
    counted = chosen & (originals != PAD)
    share: Tensor = (reconstructions == originals)[counted].float().mean()
    return share


def rouge_l(reconstructions: Tensor, originals: Tensor, *_: Tensor) -> Tensor:
    """ROUGE-L of each reconstruction, ``(N,)``: how long a part of the original it holds, in order but with gaps.

    C.-Y. Lin, "ROUGE: A package for automatic evaluation of summaries", 2004, section 3.1, with equal weights of
    precision and recall, and tokens for words.
    """
    import torch

    counted = originals != PAD
    length = torch.zeros(len(originals), originals.shape[1] + 1, dtype=torch.long)
    for place in range(originals.shape[1]):
        # Longest common subsequences of all beginnings: one row of the usual table, for all sentences at once.
        same = (originals[:, place, None] == reconstructions) & counted & counted[:, place, None]
        longer = torch.maximum(length[:, 1:], length[:, :-1] + same)
        length[:, 1:] = longer.cummax(1).values
    written = (counted & (reconstructions != PAD)).sum(1)
    score: Tensor = 2 * length[:, -1].float() / (counted.sum(1) + written).clamp(min=1)
    return score


def bleu(reconstructions: Tensor, originals: Tensor, *_: Tensor) -> Tensor:
    """BLEU-4 of each reconstruction, ``(N,)``: the share of its parts of one to four tokens that the original holds.

    K. Papineni et al., "BLEU", ACL 2002, of tokens for words; of each sentence, with one added to the counts of two
    tokens and more, as C.-Y. Lin and F. J. Och, "ORANGE", COLING 2004, section 2.3, do.
    """
    import torch

    scores = [_bleu(own[true != PAD], true[true != PAD]) for own, true in zip(reconstructions, originals, strict=True)]
    return torch.tensor(scores)


def _bleu(own: Tensor, true: Tensor) -> float:
    from math import exp, log

    words, wanted = [i for i in own.tolist() if i != PAD], true.tolist()
    if not words or not wanted:
        return 0.0
    logs = 0.0
    for n in range(1, LONGEST_GRAM + 1):
        grams, known = (Counter(zip(*(text[i:] for i in range(n)), strict=False)) for text in (words, wanted))
        added = int(n > 1)
        found, written = sum((grams & known).values()) + added, sum(grams.values()) + added
        if not found:
            return 0.0
        logs += log(found / written) / LONGEST_GRAM
    return exp(logs + min(0.0, 1 - len(wanted) / len(words)))


def cosine(reconstructions: Tensor, originals: Tensor, _: Tensor, embed: Callable[[Tensor], Tensor]) -> Tensor:
    """The cosine of what a model gives for each reconstruction and for the original, without marks: ``(N,)``."""
    import torch
    from torch.nn.functional import cosine_similarity

    own = torch.where(originals != PAD, reconstructions, PAD)
    return cosine_similarity(embed(own), embed(originals)).float()


def differing(queries: Tensor, pool: Tensor) -> Tensor:
    """The number of places in which each query, ``(N, T)``, differs from each entry of a pool, ``(M, T)``: ``(N, M)``.

    Places behind the end of an entry of the pool count where the query holds a token there.
    """
    import torch

    return torch.stack([(query != pool.to(queries.device)).sum(1) for query in queries]).float()


TOKEN_ACCURACY = Metric(
    "Tokens read",
    "share of the tokens of a sentence that were read rightly, each in its place; the mean over sentences.",
    "high", right_share, unit="%", digits=1, factor=100, modalities=("tokens",),
)  # fmt: skip
EXACT = Metric(
    "Sentences read", "share of the sentences of which every token was read rightly.",
    "high", exact, unit="%", digits=1, factor=100, modalities=("tokens",), of_yes_or_no=True,
)  # fmt: skip
ROUGE_L = Metric(
    "ROUGE-L", "longest part of a sentence that was read in the right order, with gaps, as a share of its length.",
    "high", rouge_l, modalities=("tokens",),
)  # fmt: skip
BLEU = Metric(
    "BLEU", "how many runs of one to four tokens of a sentence were read; 1 is the whole sentence.",
    "high", bleu, modalities=("tokens",),
)  # fmt: skip
COSINE = Metric(
    "Meaning read", "cosine of the vectors that the undefended model itself gives for what was read and what was said.",
    "high", cosine, modalities=("tokens",), needs=("embed",),
)  # fmt: skip
SEEN = Metric(
    "Known tokens read",
    "share of the tokens read rightly, of those that occur in the attacker's own sentences.",
    "high", share_of_seen, unit="%", digits=1, factor=100, modalities=("tokens",), of_set=True, needs=("seen",),
)  # fmt: skip
UNSEEN = Metric(
    "New tokens read",
    "share of the tokens read rightly, of those that do not occur in the attacker's own sentences.",
    "high", share_of_unseen, unit="%", digits=1, factor=100, modalities=("tokens",), of_set=True, needs=("seen",),
)  # fmt: skip
