"""Small victims that take sentences, as the runner would build their views."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from cutlayer.attacks.view import Access, View
from cutlayer.data.modality import tokens
from cutlayer.data.splits import Dataset
from cutlayer.defenses.base import Defense
from cutlayer.models.text_transformer import Block, Embedding, Mean
from cutlayer.privacy.view import view
from cutlayer.sequences import PAD, by_length
from cutlayer.spec import TensorSpec

VOCABULARY, LENGTH, WIDTH = 40, 7, 16


def sentences(n: int, seed: int) -> Tensor:
    """Random sentences of 2 to 7 tokens, some of which occur far more often than others: ``(n, 7)``."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, VOCABULARY)
    ids = rng.choice(np.arange(1, VOCABULARY), (n, LENGTH), p=share / share.sum())
    ids[np.arange(LENGTH) >= rng.integers(2, LENGTH + 1, n)[:, None]] = PAD
    return torch.from_numpy(ids.astype(np.int64))


def head(blocks: int = 1, *, causal: bool = False) -> nn.Module:
    """The embedding and a few blocks, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [Block(WIDTH, 2, causal=causal) for _ in range(blocks)]
        return nn.Sequential(Embedding(VOCABULARY, LENGTH, WIDTH), *layers).eval()


class Constant(nn.Module):
    """A head that tells nothing but the number of tokens: ones for each."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.embedding = Embedding(VOCABULARY, LENGTH, WIDTH)

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids to rows of ones."""
        return ids.ne(PAD).unsqueeze(2) + 0 * self.embedding(ids)


def view_of(head: nn.Module, defense: Defense | None = None, access: Access = Access.WHITE_BOX, n: int = 600) -> View:
    """The view of a head and a defense, with the oracle that the runner would build from them."""
    query = query_of(head, defense)
    own = sentences(n, seed=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tail = nn.Sequential(Mean(), nn.Linear(WIDTH, 3)).eval()
    return view(
        access,
        input=TensorSpec((LENGTH,), "int64", 0, VOCABULARY - 1),
        smashed=TensorSpec((LENGTH, WIDTH)),
        auxiliary=Dataset(own.numpy(), np.zeros(n, np.int64), tokens(VOCABULARY)),
        query=query,
        defense=defense or Defense(),
        tail=tail,
        head=head,
        device=torch.device("cpu"),
    )


def query_of(head: nn.Module, defense: Defense | None = None) -> Callable[[Tensor], Tensor]:
    """What arrives for sentences, each sent with others of its length."""
    defense, rng = defense or Defense(), np.random.default_rng(7)

    @torch.no_grad()
    def query(ids: Tensor) -> Tensor:
        def sent(part: np.ndarray) -> np.ndarray:
            return np.asarray(defense.protect(head(torch.from_numpy(part)).numpy(), rng))

        return torch.from_numpy(by_length(sent, ids.numpy(), LENGTH))

    return query
