"""Who trains when, and on which samples: functions of the plan and of counters alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cutlayer.protocols.draws import Role, generator

if TYPE_CHECKING:
    from cutlayer.protocols.plan import TrainingPlan


def chosen(plan: TrainingPlan, round: int) -> list[int]:
    """The clients that take part in a round, in ascending order, each from 1 to `plan.clients`.

    A fraction below 1 chooses so many of them anew in each round, at least one.
    """
    everybody = list(range(1, plan.clients + 1))
    n = plan.per_round
    if n >= plan.clients:
        return everybody
    picked = generator(plan.seed, Role.SAMPLING, round=round).choice(everybody, n, replace=False)
    return sorted(map(int, picked))


def turns(plan: TrainingPlan, round: int) -> list[int]:
    """The clients of a round in the order in which the server serves them.

    Where heads are averaged and one tail sees the clients one after the other, the last one counts most, so that the
    order is drawn in each round. Otherwise it is the ascending one.
    """
    clients = chosen(plan, round)
    if plan.row.head == "averaged" and plan.row.order in ("turns", "batches"):
        return list(map(int, generator(plan.seed, Role.TURNS, round=round).permutation(clients)))
    return clients


def batches(plan: TrainingPlan, client: int, n: int, round: int, epoch: int) -> list[NDArray[np.intp]]:
    """The samples of each step of an epoch, as positions among the `n` samples of the client.

    An epoch is divided evenly into as many steps as `plan.batch` requires: no step has more samples, and none has a
    sole one for which batch normalization knows no variance, unless the client has no more.
    """
    order = generator(plan.seed, Role.ORDER, client, round, epoch).permutation(n)
    return np.array_split(order, -(-n // plan.batch))
