"""A victim that takes sentences and learns in a moment."""

import functools

import numpy as np
import torch

from cutlayer.data.modality import tokens
from cutlayer.data.splits import Dataset, Splits
from cutlayer.models.halves import SplitModel, split
from cutlayer.models.zoo import build
from cutlayer.sequences import PAD
from cutlayer.spec import token_spec
from cutlayer.training import train

VOCABULARY, LENGTH = 40, 7
SENTENCE = token_spec(LENGTH, VOCABULARY)
CLASSES = ("low", "high")


def _part(n: int, seed: int) -> Dataset:
    """Sentences of 2 to 7 tokens, of low ids or of high ones by their class, with some of the others among them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=n)
    own, other = (rng.integers(1, VOCABULARY // 2, (n, LENGTH)) for _ in range(2))
    ids = np.where(rng.random((n, LENGTH)) < 0.8, own + labels[:, None] * 20, other + (1 - labels)[:, None] * 20)
    ids[np.arange(LENGTH) >= rng.integers(2, LENGTH + 1, n)[:, None]] = PAD
    return Dataset(ids.astype(np.int64), labels.astype(np.int64), tokens(VOCABULARY))


@functools.cache
def sentences() -> Splits:
    """Two classes of sentences; the words are the ids."""
    return Splits("made", CLASSES, *(_part(n, seed) for seed, n in enumerate((600, 600, 40, 200))))


@functools.cache
def trained(cut: str = "block1") -> SplitModel:
    """A transformer that classifies them, cut."""
    with torch.random.fork_rng(devices=[]):
        model = build("text_transformer", SENTENCE, len(CLASSES), 0)
    train(model, sentences().train, epochs=2, seed=0)
    return split(model, cut, SENTENCE)
