"""Sanitized text: each token is replaced, at random, by one whose embedding is near, before the head computes.

X. Yue, M. Du, T. Wang, Y. Li, H. Sun, S. S. M. Chow, "Differential Privacy for Text Analytics via Natural Text
Sanitization", Findings of ACL 2021, https://arxiv.org/abs/2106.01221, SanText (with `sensitive` 1) and SanText+:

    P(y | x) ~ exp(-epsilon d(x, y) / 2),    d the Euclidean distance of the embeddings, y in V_S

V_S are the sensitive tokens, the rarest of the vocabulary. A token that is not one of them stays as it is but with the
probability `replaced`, and is then drawn from V_S by the same law. For any two sensitive tokens x and x', and any y,
P(y | x) is at most exp(epsilon d(x, x')) times P(y | x'): metric local differential privacy, of one token. A token that
is not sensitive has no such promise: where it arrives, it was said.

What follows only computes on the replaced tokens, so that the promise holds for all that is sent, whatever the head is:
of a sentence of T tokens with T times the epsilon, and of k releases with k times that. The length of a sentence is not
hidden.

Threat model: a server that knows the vocabulary, the embeddings and epsilon, and may see several releases of one
sentence; each has draws of its own, so that the most frequent token at a place becomes plain.

Differs from the paper:
    - The embeddings are those of the victim's own head, as trained, in place of GloVe's or BERT's, and distances are
      divided by the root of their mean square over all pairs of tokens. So `noise` is 1 / epsilon, and epsilon that of
      two tokens as far apart as tokens are; 1 to 3 in the paper is in units of GloVe's space.
    - A victim's own tokens are replaced, marks such as [CLS] excepted; theirs are words, and one that is not in their
      vocabulary becomes any word. Tokens beyond the vocabulary are one token here, [UNK].
    - Head and tail are trained on sanitized text (`epochs`), anew for each batch; they sanitize once, and train on that
      after a pretraining that predicts the original tokens, which is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.defenses.base import Defense
from cutlayer.errors import ConfigError
from cutlayer.options import Epochs, Share, Weight
from cutlayer.sequences import PAD

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cutlayer.data.splits import Splits
    from cutlayer.models.halves import SplitModel

RELEASES = (1, 4, 16, 64)
"""Numbers of releases of one sentence for which epsilon is reported."""
CHUNK = 64
"""Tokens whose distances to all others are held at a time."""


@dataclass(kw_only=True)
class SanitizeText(Defense):
    """Replace tokens at random by others whose embeddings are near; epsilon is reported, and usually large.

    Args:
        noise: 1 / epsilon of two tokens as far apart as tokens are in the root mean square.
        sensitive: Share of the vocabulary, its rarest tokens, that is protected and that replaces; with 1 all of it.
        replaced: Probability that a token which is not sensitive is replaced.
        epochs: Passes over the training data for which head and tail are trained on sanitized text.
    """

    knob = "noise"
    draws = True
    kinds = ("tokens",)
    why_only = "it puts tokens in place of tokens"

    noise: Weight = 0.05
    sensitive: Share = 1.0
    replaced: Share = 0.3
    epochs: Epochs = 2

    def __post_init__(self) -> None:
        if self.noise < 0 or self.epochs < 0 or not 0 < self.sensitive <= 1 or not 0 <= self.replaced <= 1:
            raise ConfigError(
                f"{self!r}: noise and epochs must be 0 or more, replaced between 0 and 1, and sensitive more than 0 and"
                " at most 1."
            )

    @property
    def further_epochs(self) -> int:
        """Passes over the training part; see the base."""
        return self.epochs if self.on else 0

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Take the embeddings out of the head, then train copies of both halves on sanitized text.

        Raises:
            ConfigError: The head embeds no tokens.
        """
        if not self.on:
            return split
        self._learned = _vocabulary(split, data, self.sensitive)
        ids, times = np.unique(data.train.inputs, return_counts=True)
        said = ~self._learned["stays"][ids]
        self._learned["kept"] = np.array(np.average(self._keeps(ids[said]), weights=times[said]))
        if not self.epochs:
            return split
        import torch
        from torch.nn.functional import cross_entropy

        from cutlayer.models.halves import copied
        from cutlayer.training import optimize

        halves = copied(split)

        def loss(ids: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
            sanitized = torch.from_numpy(self.rewrite(ids.cpu().numpy(), rng)).to(ids.device)
            return cross_entropy(halves.tail(halves.head(sanitized)).float(), labels)

        optimize([halves.head, halves.tail], data.train, loss, epochs=self.epochs, seed=seed)
        return halves

    def rewrite(self, inputs: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Draw a token for each token, ``(N, T)``; at noise 0 return the input itself."""
        if not self.on:
            return inputs
        stays, own, may_come = self._tables()
        flat = inputs.ravel().copy()
        order = np.argsort(flat, kind="stable")
        known, first = np.unique(flat[order], return_index=True)
        places = dict(zip(known.tolist(), np.split(order, first[1:]), strict=True))
        for tokens in np.array_split(known[~stays[known]], -(-len(known) // CHUNK)):
            for token, odds in zip(tokens.tolist(), self._odds(tokens), strict=True):
                at = places[token]
                if not own[token]:
                    at = at[rng.random(len(at)) < self.replaced]
                reached = np.cumsum(odds)
                drawn = np.searchsorted(reached, rng.random(len(at)) * reached[-1], side="right")
                flat[at] = may_come[np.minimum(drawn, len(may_come) - 1)]
        return flat.reshape(inputs.shape)

    def facts(self, smashed: NDArray[np.float32]) -> dict[str, float | str]:
        """Epsilon of a token and of a sentence after several releases, and the share of tokens that stay."""
        if not self.on:
            return {}
        most = float(self._learned["farthest"]) / self.noise
        stated: dict[str, float | str] = {"epsilon": 1 / self.noise, "epsilon_of_a_token_at_most": most}
        guarantee = "metric local DP of a token that is sensitive, epsilon times the distance to another"
        if self.sensitive == 1:
            length = int(self._learned["length"])
            stated |= {f"epsilon_after_{k}": k * length * most for k in RELEASES}
            guarantee = (
                f"local DP of a whole sentence, for any two of {length} tokens; above 10 or so it promises little"
            )
        return {**stated, "kept_share": float(self._learned["kept"]), "guarantee": guarantee}

    def _tables(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.intp]]:
        """Which tokens stay in any case, which are sensitive, and the ids of the latter."""
        if "vectors" not in self._learned:
            raise ConfigError(f"{self!r} has no embeddings yet; call harden() or deploy() first.")
        own = self._learned["sensitive"]
        return self._learned["stays"], own, np.flatnonzero(own)

    def _odds(self, ids: NDArray[Any]) -> NDArray[np.float64]:
        """The odds of each sensitive token, in the place of each of these, ``(n, |V_S|)``; the greatest is 1."""
        vectors = self._learned["vectors"].astype(np.float64, copy=False)
        others = vectors[self._learned["sensitive"]]
        own = vectors[ids]
        squared = (own**2).sum(1)[:, None] + (others**2).sum(1) - 2 * own @ others.T
        distances = np.sqrt(np.maximum(squared, 0))
        distances[ids[:, None] == np.flatnonzero(self._learned["sensitive"])] = 0
        odds: NDArray[np.float64] = np.exp((distances.min(1, keepdims=True) - distances) / (2 * self.noise))
        return odds

    def _keeps(self, ids: NDArray[Any]) -> NDArray[np.float64]:
        """The probability that each of these tokens stays, ``(n,)``."""
        _, own, may_come = self._tables()
        stays = np.where(own[ids], 0.0, 1 - self.replaced)
        for at in np.array_split(np.flatnonzero(own[ids]), -(-len(ids) // CHUNK)):
            odds = self._odds(ids[at])
            stays[at] = odds[np.arange(len(at)), np.searchsorted(may_come, ids[at])] / odds.sum(1)
        return stays


def _vocabulary(split: SplitModel, data: Splits, sensitive: float) -> dict[str, NDArray[Any]]:
    """What the device needs of each token: its vector, whether it stays in any case, and whether it is sensitive."""
    table = _embedding(split.head, int(split.input.high or 0) + 1).weight.detach().cpu().numpy()
    counts = np.bincount(data.train.inputs.ravel(), minlength=len(table))
    stays = np.zeros(len(table), np.bool_)
    stays[[PAD, *data.modality.marks]] = True
    rarest = np.lexsort((np.arange(len(table)), counts))
    rarest = rarest[~stays[rarest]]
    own = np.zeros(len(table), np.bool_)
    own[rarest[: max(1, round(sensitive * len(rarest)))]] = True
    center = table[~stays].mean(0)
    radii = np.linalg.norm(table[~stays] - center, axis=1)
    # The mean square of the distance of two is twice that of the distance from their center.
    unit = float(np.sqrt(2 * np.square(radii, dtype=np.float64).mean())) or 1.0
    return {
        "vectors": ((table - center) / unit).astype(np.float32),
        "stays": stays,
        "sensitive": own,
        "farthest": np.array(2 * float(radii.max()) / unit),
        "length": np.array(split.input.shape[0]),
    }


def _embedding(head: nn.Module, vocabulary: int) -> nn.Embedding:
    """The table of the vectors of all tokens."""
    from torch import nn

    for module in head.modules():
        if isinstance(module, nn.Embedding) and module.num_embeddings >= vocabulary:
            return module
    raise ConfigError(
        f"sanitize-text takes distances from the embedding of the head, which has none of {vocabulary:,} tokens; cut "
        "behind the embedding."
    )
