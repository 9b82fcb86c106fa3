"""The device's half as a cloud learns it, which holds the server's half and no device.

A cloud that only serves sees the smashed data of its clients (`matched`); one that may choose inputs sees the smashed
data of its own samples (`distilled`). Behind either imitation its own half makes a whole network, through which
gradients flow as through a stolen one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from cutlayer.attacks.features.query_free import FEWEST, shadow_of
from cutlayer.attacks.queries import varied
from cutlayer.data.withheld import ClassData
from cutlayer.errors import ConfigError
from cutlayer.machine.compute import autocast
from cutlayer.models.halves import SplitModel
from cutlayer.nets.shadow import build
from cutlayer.progress import track

SEEN = 2000
"""Inputs of clients whose smashed data a cloud has seen before it attacks."""
CHOSEN = 4096
"""Inputs that a cloud has a device compute: the attacker's own, and as many made of them as are needed."""
STEPS = 400
"""Steps in which an imitation of the head is trained."""
_BATCH = 128

Arriving = Callable[[Tensor], Tensor]
"""Inputs ``(N, *input.shape)`` to what the server receives for them."""


def matched(halves: SplitModel, data: ClassData, arriving: Arriving, seed: int, device: torch.device) -> nn.Module:
    """The server's half behind a shadow of the head that is matched to the smashed data of clients.

    Raises:
        ConfigError: Too few inputs of clients are at hand.
    """
    theirs = data.held_out.take(SEEN)
    if len(theirs) < FEWEST:
        raise ConfigError(
            f"A cloud matches its head to {FEWEST} inputs of clients at least; {len(theirs)} are at hand."
        )
    own = torch.from_numpy(data.auxiliary.inputs).to(device)
    labels = torch.from_numpy(data.auxiliary.labels).to(device) if data.shared else None
    arrived = arriving(torch.from_numpy(theirs.inputs)).to(device)
    return _behind(shadow_of(own, arrived, halves.tail, seed, labels=labels, steps=STEPS), halves)


def distilled(
    halves: SplitModel, data: ClassData, arriving: Arriving, seed: int, device: torch.device, n: int
) -> nn.Module:
    """The server's half behind a network that gives what arrived for n inputs of the attacker's choice."""
    random = torch.Generator().manual_seed(seed)
    own = torch.from_numpy(data.auxiliary.inputs)
    order = torch.randperm(len(own), generator=random)[:n]
    chosen = own[order]
    while len(chosen) < n:
        chosen = torch.cat([chosen, varied(own[order[: n - len(chosen)]], random)])
    arrived = arriving(chosen).to(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else [], device_type="cuda"):
        torch.manual_seed(seed)
        positive = bool((arrived >= 0).all())
        imitation = build("", tuple(chosen.shape[1:]), tuple(arrived.shape[1:]), positive=positive).to(device)
    scale = arrived.var().clamp(min=1e-12)
    per_epoch = -(-n // _BATCH)
    optimizer = torch.optim.Adam(imitation.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=-(-STEPS // per_epoch) * per_epoch)
    chosen = chosen.to(device)
    for _ in track(range(-(-STEPS // per_epoch)), "learning the head"):
        for rows in torch.randperm(n, generator=random).to(device).chunk(per_epoch):
            with autocast(device):
                given = imitation(chosen[rows])
            loss = mse_loss(given.float(), arrived[rows]) / scale
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    return _behind(imitation.eval().requires_grad_(False), halves)


def _behind(head: nn.Module, halves: SplitModel) -> nn.Module:
    return nn.Sequential(head.cpu(), halves.tail).eval().requires_grad_(False)
