"""Attacks on the updates that the server of a training has recorded: nothing is sent, and nobody trains."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cutlayer.attacks.gradients.client import Made
from cutlayer.attacks.gradients.floors import FLOORS
from cutlayer.attacks.gradients.view import Observation
from cutlayer.data.load import open_data
from cutlayer.data.splits import Splits
from cutlayer.errors import ConfigError, DataError
from cutlayer.experiment.gradient_plan import Attacker
from cutlayer.experiment.gradients import attacked, view
from cutlayer.models.text_folder import tokenizer_of
from cutlayer.privacy.identification import CANDIDATES
from cutlayer.protocols import plan as plans
from cutlayer.protocols.plan import Optimizer, TrainingPlan
from cutlayer.protocols.setup import Setup, prepare, untrained
from cutlayer.protocols.update_defense import update_defense
from cutlayer.records import gradients as records
from cutlayer.records.gradients import UpdateRecord
from cutlayer.records.training import PLAN, TRANSCRIPT
from cutlayer.records.transcript import Transcript
from cutlayer.registry import UPDATE_ATTACKS
from cutlayer.tables import Named

AUXILIARY = 2000
"""Samples of the attacker's own."""


def attack_transcript(
    folder: Path,
    attackers: Sequence[Attacker],
    *,
    data_root: Path | None = None,
    rounds: Sequence[int] = (),
    say: Callable[[str], None],
) -> list[UpdateRecord]:
    """Attack what the clients of a training delivered in some rounds, and score it against their samples.

    Args:
        folder: Folder of the run, with its plan and the transcript of its server.
        attackers: The attacks.
        data_root: Folder of the data sets that are not embedded.
        rounds: The rounds; the first and the last recorded one if empty.
        say: Called with a line for each attack.

    Raises:
        ConfigError: The server has not seen the update of a whole model, or such a round was not recorded.
        DataError: There is no transcript, or the data are missing.
    """
    plan = plans.load(folder / PLAN)
    if plan.row.tail != "none":
        raise ConfigError(
            f"The clients of {plan.protocol} deliver the layers in front of the cut, and a head alone has no loss that "
            "a gradient could be matched with; its server sees smashed data, which tell more: attack those with "
            "`cutlayer attack`, or record a training with the protocol fedavg."
        )
    transcript = Transcript(folder / "server" / TRANSCRIPT)
    setup, chosen = prepare(plan, data_root), tuple(rounds) or tuple(dict.fromkeys((1, max(transcript.rounds))))
    data, found = _data(setup, data_root), list[UpdateRecord]()
    for round in chosen:
        made, inputs, labels, of = _updates(setup, transcript, round)
        floors = [Attacker(Named(name), knows=(), floor=True) for name in FLOORS]
        for attacker in (*floors, *(replace(a, of=of) for a in attackers)):
            named, record = attacker.attack, _unscored(plan, made, round, attacker)
            fresh = partial(_model, setup, plan.seed + 1)
            seen = view(
                attacker,
                data,
                labels,
                seed=plan.seed,
                defense=update_defense(plan.update_defense),
                among=1,
                fresh=fresh,
            )
            observations = [m.observation for m in made]
            answer = (
                partial(FLOORS[named.name], seen, made)
                if attacker.floor
                else partial(UPDATE_ATTACKS.make(named.name, **named.options).invert, seen, observations)
            )
            record, pictures = attacked(record, answer, made, inputs, labels, data)
            records.write(folder, record, pictures)
            say(f"{record.label}, round {round}: {record.failed or 'done'}")
            found.append(record)
    return found


def _updates(setup: Setup, transcript: Transcript, round: int) -> tuple[list[Made], list[Tensor], list[Tensor], str]:
    """The updates of a round, the samples and the labels behind each, and whether they are sums."""
    plan, delivered = setup.plan, list(transcript.delivered(round))
    if not delivered:
        raise DataError(f"The transcript holds no updates of round {round}; record the training again.")
    model = _model(setup, None)
    if round > 1:
        _load(model, transcript.model(round - 1))
    made, inputs, labels = list[Made](), list[Tensor](), list[Tensor]()
    for each in delivered:
        own = setup.samples(each.client)
        inputs.append(torch.from_numpy(own.inputs))
        labels.append(torch.from_numpy(own.labels))
        observation = Observation(
            update={}, samples=each.samples, local_steps=each.steps, batch=min(plan.batch, each.samples),
            lr=_rate(plan.optimizer, each.steps), optimizer=plan.optimizer.name, round=round - 1, eval_mode=False,
            _model=model,
        )  # fmt: skip
        if plan.secure_aggregation is None:
            observation = replace(observation, update=_change(model, each.weights))
        made.append(Made(observation, inputs[-1], labels[-1]))
    if plan.secure_aggregation is None:
        return made, inputs, labels, "client"
    # What a client has sent is masked; the server learns the mean of all.
    change = _change(model, transcript.model(round))
    sizes = {key: sum(getattr(m.observation, key) for m in made) for key in ("samples", "batch")}
    total = replace(made[0].observation, update=change, **sizes)
    return [Made(total, torch.cat(inputs), torch.cat(labels))], [torch.cat(inputs)], [torch.cat(labels)], "sum"


def _rate(optimizer: Optimizer, steps: int) -> float:
    """The learning rate at which steps without momentum go as far, where the gradient stays the same."""
    speed = way = 0.0
    for _ in range(steps):
        speed = optimizer.momentum * speed + 1
        way += speed
    return optimizer.lr * way / max(steps, 1)


def _change(model: nn.Module, after: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(after[name]) - p.detach() for name, p in model.named_parameters()}


def _model(setup: Setup, seed: int | None) -> nn.Module:
    """The model of the plan before training, or one of the same architecture with other weights."""
    plan = setup.plan if seed is None else replace(setup.plan, seed=seed)
    model: nn.Module = untrained(plan, setup.input, len(setup.classes))
    return model


def _load(model: nn.Module, weights: Mapping[str, NDArray[Any]]) -> None:
    known = model.state_dict()
    if strange := sorted(known.keys() ^ weights.keys()):
        raise DataError(
            f"The transcript was recorded for another model: {strange[0]!r:.80} is in one of the two alone."
        )
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})


def _data(setup: Setup, data_root: Path | None) -> Splits:
    """The samples of the attacker, and candidates that are no client's."""
    plan = setup.plan
    data = open_data(plan.data, data_root, plan.seed, shape=setup.input.shape, tokenizer=tokenizer_of(plan.model))
    auxiliary, private = (
        part.take(n).loaded()[0] for part, n in ((data.auxiliary, AUXILIARY), (data.private, CANDIDATES))
    )
    return replace(data, train=setup.test.take(1), test=setup.test.take(1), auxiliary=auxiliary, private=private)


def _unscored(plan: TrainingPlan, made: Sequence[Made], round: int, attacker: Attacker) -> UpdateRecord:
    first = made[0].observation
    defense = Named("secure-aggregation") if plan.secure_aggregation is not None else plan.update_defense
    attack = attacker.attack
    key = [plan.id, round, attack.name, attack.options, attacker.knows, attacker.of, attacker.floor]
    return UpdateRecord(
        id=hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12], study=plan.id, name=plan.name,
        claim=plan.claim, data=plan.data, model=plan.model, seed=plan.seed, epochs=round - 1,
        samples=max(m.observation.samples for m in made), steps=first.local_steps, local_batch=first.batch, lr=first.lr,
        defense=defense.name, defense_label=defense.label,
        attack=attack.name, label=attacker.label, knows=attacker.knows, of=attacker.of, floor=attacker.floor,
        wire=plan.protocol,
    )  # fmt: skip
