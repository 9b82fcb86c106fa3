"""Small victims that take rows of a table, as the runner would build their views."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from cutlayer.attacks.view import SMASHED, Access, View
from cutlayer.data.modality import table
from cutlayer.data.rows import rows_of
from cutlayer.data.splits import Dataset
from cutlayer.defenses.base import Defense
from cutlayer.privacy.view import view
from cutlayer.spec import TensorSpec

JOBS = ("clerk", "cook", "judge", "smith")


def _cells(n: int, seed: int) -> dict[str, list[str]]:
    rng = np.random.default_rng(seed)
    age = rng.integers(20, 70, n)
    job = np.array(JOBS)[np.minimum(rng.integers(0, 7, n), 3)]
    income = np.round(age * 100 * rng.uniform(0.5, 2, n))
    return {
        "age": [str(value) for value in age],
        "job": job.tolist(),
        "loan": np.where(rng.random(n) < 0.7, "no", "yes").tolist(),
        "income": [str(value) for value in income],
        "city": [f"city {value}" for value in rng.integers(0, 3, n)],
    }


_ROWS, COLUMNS = rows_of(_cells(1000, 1), "here")
MODALITY, WIDTH = table(COLUMNS), _ROWS.shape[1]
PRIVATE = torch.from_numpy(_ROWS[:40])
"""The victims' rows."""


def mixing_head(width: int = 24) -> nn.Module:
    """An invertible linear map, then ReLU of it and of its negative, so that nothing is lost: ``(N, 2 * width)``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        linear = nn.Linear(WIDTH, width)
        nn.init.orthogonal_(linear.weight)
        head = nn.Sequential(nn.Linear(WIDTH, 2 * width), nn.ReLU())
    with torch.no_grad():
        head[0].weight.copy_(torch.cat([linear.weight, -linear.weight]))
        head[0].bias.copy_(torch.cat([linear.bias, -linear.bias]))
    return head.eval()


def constant_head() -> nn.Module:
    """A head that tells nothing: ones, whatever it is shown."""
    head = nn.Sequential(nn.Linear(WIDTH, 12)).eval()
    head[0].weight.data.zero_()
    head[0].bias.data.fill_(1)
    return head


def view_of(
    head: nn.Module, defense: Defense | None = None, access: Access = Access.WHITE_BOX, sees: str = SMASHED
) -> View:
    """The view of a head and a defense, with the oracle that the runner would build from them."""
    query = query_of(head, defense, sees)
    outputs = query(PRIVATE[:1]).shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tail = nn.Linear(head(PRIVATE[:1]).shape[1], 2).eval()
    own = _ROWS[40:]
    return view(
        access,
        input=MODALITY.spec(WIDTH),
        smashed=TensorSpec((outputs,)),
        auxiliary=Dataset(own, np.zeros(len(own), np.int64), MODALITY),
        query=query,
        defense=defense or Defense(),
        tail=tail,
        head=head,
        device=torch.device("cpu"),
    )


def query_of(head: nn.Module, defense: Defense | None = None, sees: str = SMASHED) -> Callable[[Tensor], Tensor]:
    """What arrives for rows, with fresh noise each time."""
    defense, rng = defense or Defense(), np.random.default_rng(7)

    @torch.no_grad()
    def query(rows: Tensor) -> Tensor:
        released = torch.as_tensor(defense.protect(head(rows), rng))
        # The length of a codec that sends no number near zero.
        return released if sees == SMASHED else (released > 0.1).sum(dim=1, keepdim=True).float()

    return query
