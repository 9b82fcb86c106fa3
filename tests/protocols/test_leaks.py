"""A plan's defense of the gradient acts where the labels are, and a recording shows what each party saw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cutlayer.errors import ConfigError
from cutlayer.protocols.draws import Role, generator
from cutlayer.protocols.events import Event
from cutlayer.protocols.plan import parse
from cutlayer.protocols.recording import Recording
from cutlayer.records.transcript import Transcript
from cutlayer.registry import GRADIENT_DEFENSES
from tests.protocols.direct import Run, planned

END = {"u-shaped": {"end": "relu3"}}
"""The second cut, where there is one."""


def gradients(events: list[Event], name: str) -> dict[tuple[int, int, int], torch.Tensor]:
    return {(e.client, e.round, e.step): e.what["gradient"] for e in events if e.name == name}


@pytest.mark.parametrize("protocol", ["vanilla", "splitfed-v1", "parallel"])
def test_the_first_gradient_that_a_client_gets_is_the_protected_one(protocol: str) -> None:
    plain, hidden = (Run(planned(protocol, rounds=1, gradient_defense=name)).checked() for name in ("none", "max-norm"))
    before, after = (gradients(run.heard, "answered") for run in (plain, hidden))
    received = gradients(hidden.seen[1], "learned")
    first = (1, 1, 0)
    labels = next(e.what["labels"] for e in hidden.heard if e.name == "received" and e.client == 1)
    draws = generator(hidden.plan.seed, Role.NOISE, *first)
    expected = GRADIENT_DEFENSES.make("max-norm").protect_cut_gradient(before[first], labels, draws)
    assert torch.equal(after[first], expected)
    assert torch.equal(received[first], expected)
    assert not torch.equal(expected, before[first])


def test_in_a_u_shaped_plan_the_client_protects_what_it_sends() -> None:
    runs = [
        Run(planned("u-shaped", rounds=1, gradient_defense=name, **END["u-shaped"])).checked()
        for name in ("none", "iso")
    ]
    before, after = (gradients(run.heard, "answered")[1, 1, 0] for run in runs)
    assert not torch.equal(before, after)


@pytest.mark.parametrize(
    ("protocol", "changes", "message"),
    [
        ("fedavg", {"gradient_defense": "iso"}, "sends no gradient of the cut"),
        ("local-loss", {"gradient_defense": {"name": "iso"}}, "sends no gradient of the cut"),
        ("vanilla", {"gradient_defense": "iso", "micro_batches": 2}, "set micro_batches = 1"),
        ("vanilla", {"gradient_defense": "gaussian-noise"}, "There is no gradient defense named 'gaussian-noise'"),
        ("vanilla", {"gradient_defense": {"name": "iso", "ratio": -1.0}}, "ratio must be"),
    ],
)
def test_a_defense_that_cannot_act_is_refused(protocol: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        planned(protocol, **changes)


def test_the_defense_of_the_gradient_is_part_of_the_id() -> None:
    plans = [planned(), planned(gradient_defense="iso"), planned(gradient_defense={"name": "iso", "ratio": 0.5})]
    assert len({plan.id for plan in plans}) == 3
    assert planned(gradient_defense="none").id == plans[0].id
    table = {"data": "digits", "model": "resnet20", "protocol": "vanilla", "cut": "pool"}
    assert parse({**table, "gradient_defense": "marvell"}).gradient_defense.name == "marvell"


@pytest.mark.parametrize("protocol", ["vanilla", "u-shaped", "splitfed-v1", "parallel", "local-loss"])
def test_a_recording_holds_what_was_seen(protocol: str, tmp_path) -> None:
    run = Run(planned(protocol, **END.get(protocol, {}))).checked()
    for side, events in (("server", run.heard), ("client", run.seen[2])):
        recording = Recording(tmp_path / side)
        for event in events:
            recording(event)
        transcript, first, second = (
            Transcript(tmp_path / side),
            *(("received", "answered") if side == "server" else ("sent", "learned")),
        )
        steps = {(seen.client, seen.round, seen.step): seen for seen in transcript.steps()}
        began = {(e.client, e.round, e.step): e.what for e in events if e.name == first}
        ended = gradients(events, second)
        assert steps.keys() == began.keys() != set()
        for where, seen in steps.items():
            assert np.array_equal(seen.smashed, began[where]["smashed"].numpy())
            assert (seen.labels is None) == ("labels" not in began[where])
            assert (seen.gradient is None) == (where not in ended)
            assert seen.gradient is None or np.array_equal(seen.gradient, ended[where].numpy())
        assert transcript.rounds == (1, 2)
        again = Recording(tmp_path / side, after=1)
        assert {seen.round for seen in Transcript(tmp_path / side).steps()} == {1}
        del again
