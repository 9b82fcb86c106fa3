"""Where an attacker on a model's answers and weights is, and what it has there: each position gives a `ClassView`.

An outsider asks what every client asks, over a socket, of a cloud in a process of its own; see `class_service`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from cutlayer.attacks.answers.view import BATCH, CPU, ClassView, Reply, Service
from cutlayer.cloud.query_log import QueryLog
from cutlayer.defenses.answers.base import UNTOLD
from cutlayer.defenses.base import deployed
from cutlayer.errors import ConfigError
from cutlayer.experiment.class_service import Ask, clients, deploy
from cutlayer.experiment.class_victim import ClassVictim
from cutlayer.experiment.learned_head import CHOSEN, distilled, matched
from cutlayer.models.kept import Say
from cutlayer.privacy.view import wire


@dataclass(frozen=True)
class Position:
    """A place where an attacker is.

    Attributes:
        title: Name for a reader, with its article.
        plain_words: What the attacker is and has, for a reader who does not know the field: a whole sentence.
        grants: The most that it gets of the victim.
    """

    title: str
    plain_words: str
    grants: Reply


POSITIONS = {
    "outsider": Position(
        "an outsider", "It asks the whole service, as every client does, and holds nothing of the model.", Reply.SCORES
    ),
    "head-holder": Position(
        "a holder of the head",
        "It asks the whole service, holds the device's half, and may send the server smashed data of its own making.",
        Reply.SCORES,
    ),
    "cloud": Position(
        "the cloud",
        "It holds the server's half and sees smashed data of its clients, to which it fits a device's half of its own; "
        "nobody is asked.",
        Reply.WEIGHTS,
    ),
    "pushing-cloud": Position(
        "a cloud that chooses inputs",
        "It holds the server's half and has a device compute smashed data for inputs that it chooses, from which it "
        "learns a device's half of its own.",
        Reply.WEIGHTS,
    ),
    "participant": Position(
        "a participant",
        "It takes part in the federated training of the model, and so holds the whole network after every round.",
        Reply.WEIGHTS,
    ),
    "thief": Position(
        "a thief", "It holds a copy of the whole model, and asks that; the server is not involved.", Reply.WEIGHTS
    ),
}
"""The positions by name."""
AT_THE_CUT = ("head-holder", "cloud", "pushing-cloud")


def misplaced(position: str, *, cut: bool, together: bool) -> str:
    """Why a victim has no such position; empty where it has.

    Args:
        position: A name of `POSITIONS`.
        cut: Whether the victim is cut.
        together: Whether clients have trained it together.
    """
    title = POSITIONS[position].title
    if position == "participant" and not together:
        return "Nobody takes part in a training in one place; state training.clients."
    if position in AT_THE_CUT and not cut:
        return f"{title[0].upper()}{title[1:]} stands at the cut, and the victim is not cut; state one."
    return ""


@contextmanager
def seen_from(
    position: str,
    victim: ClassVictim,
    *,
    reply: Reply,
    targets: tuple[int, ...],
    budget: int | None = None,
    seed: int = 0,
    kept: dict[Any, Any] | None = None,
    device: torch.device = CPU,
    transport: str = "zmq",
    codec: str = "raw",
    queries: QueryLog | None = None,
    explain: Callable[[Tensor], Tensor] | None = None,
    say: Say = lambda text: None,
) -> Iterator[ClassView]:
    """What an attacker may touch, while the context lasts.

    Args:
        position: A name of `POSITIONS`.
        victim: The victim. Where it is not cut, what it answers is computed in this process, and only outsiders and
            thieves have a position.
        reply: What the attacker gets, at most what the position grants.
        targets: The classes to represent.
        budget: Inputs that it may ask about; None for any number.
        seed: Seed of the attacker's own random choices, and of the draws of what protects smashed data.
        kept: What attackers with the same position and reply have kept for each other.
        device: Where the attacker computes.
        transport: How a client asks the cloud: zmq or grpc, with a process for the cloud, or ``inprocess``, which gives
            the same answers bit for bit.
        codec: Name of the codec on the wire.
        queries: The log of a server in this process; see `cutlayer.cloud.query_log`.
        explain: What the service explains its answers with; None where it explains nothing.
        say: Called when there is work to do.

    Raises:
        ConfigError: The position does not grant the reply, the server does not give it, or the victim is not cut.
        SpentError: The budget is less than what the position itself asks.
    """
    if reply > POSITIONS[position].grants:
        raise ConfigError(f"{POSITIONS[position].title} does not get the victim's {reply.label}.")
    view = ClassView(
        input=victim.data.input, classes=victim.classes, targets=targets, auxiliary=victim.data.auxiliary, reply=reply,
        seed=seed, device=device, _kept={} if kept is None else kept, _explain=explain,
    )  # fmt: skip
    if why := misplaced(position, cut=victim.halves is not None, together=bool(victim.rounds)):
        raise ConfigError(why)
    told, halves = min(reply, Reply.SCORES), victim.halves
    if position == "thief":
        yield _holding(view, (victim.model,), Service(_in_torch(victim.model), told, budget))
        return
    if position == "participant":
        yield _holding(view, victim.rounds, Service(_in_torch(victim.rounds[-1]), told, budget))
        return
    if position in ("outsider", "head-holder") and victim.defense.label_only and reply > Reply.LABEL:
        raise ConfigError("The server replies with labels only.")
    if halves is None:
        yield replace(view, _service=Service(_whole(victim, seed), told, budget))
        return
    split = deploy(victim, halves, say)
    if position in ("outsider", "head-holder"):
        wired = clients(victim, split, transport=transport, codec=codec, seed=seed, queries=queries)
        with wired as (ask, ask_tail):
            service = Service(ask, told, budget)
            view = replace(view, _service=service)
            if position == "head-holder":
                service.beside = Service(ask_tail, told, budget, beside=service)
                view = replace(view, _tail_service=service.beside, _head=halves.head)
            yield view
        return
    receives = wire(split.head(), deployed(split), codec, [seed, 3], split.manifest.length)

    def arriving(inputs: Tensor) -> Tensor:
        return torch.cat([torch.tensor(receives(part.numpy())) for part in inputs.cpu().split(BATCH)])

    if position == "cloud":
        model = view.kept("matched head", lambda: matched(halves, victim.data, arriving, seed, device))
        yield _holding(view, (model,), Service(_in_torch(model), told, budget), "matched head")
        return
    view = replace(view, _service=Service(_in_torch(halves.tail, arriving), told, budget))

    def learned() -> nn.Module:
        view.service.charge(CHOSEN)
        return distilled(halves, victim.data, arriving, seed, device, CHOSEN)

    yield _holding(view, (view.kept("distilled head", learned),), view.service, "distilled head")


def _holding(view: ClassView, models: tuple[nn.Module, ...], service: Service, learned: str = "") -> ClassView:
    """The view with networks in hand; the time that was spent on one before the attack counts as the attack's."""
    held = replace(view, _service=service, _models=models if view.reply is Reply.WEIGHTS else ())
    if learned:
        held._charged[learned] = view._kept[learned].seconds
    return held


def _in_torch(model: nn.Module, before: Ask = lambda inputs: inputs) -> Ask:
    """Ask a network that is in the attacker's own hands."""

    def ask(inputs: Tensor) -> Tensor:
        with torch.inference_mode():
            scores = log_softmax(model(before(inputs.cpu())).float(), 1)
        return scores.clamp(min=UNTOLD).to(inputs.device)

    return ask


def _whole(victim: ClassVictim, seed: int) -> Ask:
    """Ask a victim that is not cut."""
    rng, ask = np.random.default_rng([seed, 4]), _in_torch(victim.model)
    return lambda inputs: torch.from_numpy(victim.defense.answer(ask(inputs).cpu().numpy(), rng)).to(inputs.device)
