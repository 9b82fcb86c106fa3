"""A small transformer that classifies sentences, and can be cut after any block.

A. Vaswani et al., "Attention is all you need", NeurIPS 2017, the encoder, with the normalization before each part as in
GPT-2. Differs from it: learned positions, the mean over the tokens of the last layer, and the rule for padding below.

A row of zeros is no token. The embedding gives such a row where the id is `cutlayer.sequences.PAD`, every block leaves
it, and nothing attends to it. So what is sent at a cut is one tensor, and the server needs no mask beside it.
"""

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.sequences import PAD
from cutlayer.spec import TensorSpec, token_spec

WIDTH, HEADS, BLOCKS = 128, 4, 3
SENTENCE = token_spec(32, 2048)


def present(rows: Tensor) -> Tensor:
    """Which rows are tokens: ``(N, T, width)`` to ``(N, T, 1)``, 1.0 or 0.0."""
    return rows.ne(0).any(2, keepdim=True).to(rows.dtype)


class Embedding(nn.Module):
    """A vector for each token, and one for its place: ``(N, T)`` to ``(N, T, width)``, zero where there is no token.

    Args:
        vocabulary: Number of tokens.
        length: Greatest length of a sequence.
        width: Numbers of a token.
        eps: What the normalization of the sum adds to the variance; None for no normalization.
    """

    def __init__(self, vocabulary: int, length: int, width: int, eps: float | None = None) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.norm = None if eps is None else nn.LayerNorm(width, eps=eps)

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids to rows."""
        places = torch.ones_like(ids).cumsum(1) - 1
        rows: Tensor = self.token(ids) + self.place(places)
        if self.norm is not None:
            rows = self.norm(rows)
        return rows * ids.ne(PAD).unsqueeze(2)


class Block(nn.Module):
    """Attention among the tokens, and a layer for each, both added to what came: ``(N, T, width)`` to the same.

    Args:
        width: Numbers of a token.
        heads: Heads of the attention.
        causal: Whether each token sees only itself and those before it.
        inner: Numbers of a token inside the layer; four times the width if 0.
        activation: The function inside the layer.
        eps: What a normalization adds to the variance.
        norm_last: Whether to normalize each sum, as BERT does, and not what is added to it.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        causal: bool = False,
        inner: int = 0,
        activation: Callable[[Tensor], Tensor] = functional.gelu,
        eps: float = 1e-5,
        norm_last: bool = False,
    ) -> None:
        super().__init__()
        self._heads, self._causal, self._activation, self._norm_last = heads, causal, activation, norm_last
        inner = inner or 4 * width
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.grow, self.shrink = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, rows: Tensor) -> Tensor:
        """Map rows to rows; those of zeros stay."""
        here = present(rows)
        if self._norm_last:
            rows = self.norm1(rows + self._attend(rows, here)) * here
            normed: Tensor = self.norm2(rows + self._widen(rows)) * here
            return normed
        rows = rows + self._attend(self.norm1(rows), here) * here
        changed: Tensor = rows + self._widen(self.norm2(rows)) * here
        return changed

    def _widen(self, rows: Tensor) -> Tensor:
        wide: Tensor = self.shrink(self._activation(self.grow(rows)))
        return wide

    def _attend(self, rows: Tensor, here: Tensor) -> Tensor:
        query, key, value = self.qkv(rows).unflatten(2, (3, self._heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
        seen = here.squeeze(2)[:, None, None, :]
        if self._causal:
            places = torch.ones_like(here).cumsum(1).squeeze(2)
            seen = seen * places[:, None, :, None].ge(places[:, None, None, :])
        # Less than every score, and finite: a row without any token would else be no number.
        weights = scores.masked_fill(seen.eq(0), -1e4).softmax(-1)
        mixed: Tensor = self.out((weights @ value).transpose(1, 2).flatten(2))
        return mixed


class Mean(nn.Module):
    """The mean of the tokens, ``(N, T, width)`` to ``(N, width)``."""

    def forward(self, rows: Tensor) -> Tensor:
        """Leave out rows of zeros."""
        mean: Tensor = rows.sum(1) / present(rows).sum(1).clamp(min=1)
        return mean


class Last(nn.Module):
    """The row of the last token, ``(N, T, width)`` to ``(N, width)``."""

    def forward(self, rows: Tensor) -> Tensor:
        """Take the last row that is not of zeros."""
        here = present(rows).squeeze(2)
        last = here * here.cumsum(1).eq(here.sum(1, keepdim=True))
        return torch.einsum("ntw,nt->nw", rows, last)


def text_transformer(input: TensorSpec = SENTENCE, classes: int = 8) -> nn.Module:
    """Three blocks of width 128 with 4 heads over the embedded tokens; the mean of all tokens is classified."""
    return _transformer(input, classes, causal=False)


def text_gpt(input: TensorSpec = SENTENCE, classes: int = 8) -> nn.Module:
    """Three blocks of width 128 with 4 heads; a token sees those before it alone, and the last one is classified."""
    return _transformer(input, classes, causal=True)


def _transformer(input: TensorSpec, classes: int, *, causal: bool) -> nn.Module:
    if not input.is_tokens:
        raise ValueError("it takes the ids of tokens.")
    vocabulary = int(input.high or 0) + 1
    layers: list[tuple[str, nn.Module]] = [("embedding", Embedding(vocabulary, input.shape[0], WIDTH))]
    layers += [(f"block{i}", Block(WIDTH, HEADS, causal=causal)) for i in range(1, BLOCKS + 1)]
    pool: tuple[str, nn.Module] = ("last", Last()) if causal else ("mean", Mean())
    layers += [pool, ("norm", nn.LayerNorm(WIDTH)), ("classifier", nn.Linear(WIDTH, classes))]
    return nn.Sequential(OrderedDict(layers))
