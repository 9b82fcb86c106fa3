"""RVE-PFL as a plan: personal heads with a variational bottleneck, and an averaged tail."""

import dataclasses

import pytest
import torch

from cutlayer.defenses.mid import distribution, divergence
from cutlayer.errors import ConfigError
from cutlayer.protocols.plan import load
from tests.protocols.direct import Run, dataset, planned
from tests.test_layout import ROOT


def bound(run: Run) -> float:
    """What a release says of an input at most, in nats, with the head of client 1."""
    head = run.clients[1]._pieces.head.eval()
    with torch.no_grad():
        return float(divergence(*distribution(head(torch.from_numpy(dataset(40, 99).inputs)))))


def test_the_bottleneck_trains_along_stays_personal_and_says_less_the_more_it_weighs():
    options = {"rounds": 3, "clients": 2, "optimizer": {"lr": 0.02}}
    plans = [planned("splitfed-v3", **options, defense={"name": "mid", "beta": beta}) for beta in (1e-6, 0.1)]
    loose, tight = (Run(plan).checked() for plan in plans)
    own = [tight.clients[k].weights()["bottleneck.weight"] for k in (1, 2)]
    assert not torch.equal(*own)
    assert "fc2.weight" in tight.coordinator.tails.weights()
    assert bound(tight) < 0.7 * bound(loose)
    # What is sent has half the channels that the head gives, and is drawn anew for each sample.
    (sent,) = (e for e in tight.seen[1] if e.name == "sent" and e.round == 1 and e.step == 0)
    assert sent.what["smashed"].shape[1:] == (4, 4, 4)
    assert {event.client for event in tight.heard if event.name == "measured"} == {1, 2}


def test_a_run_goes_on_from_a_checkpoint_with_the_same_bits():
    plan = planned("splitfed-v3", defense={"name": "mid"})
    whole = Run(plan).checked()
    again = Run(plan, after=(whole, 1)).checked()
    assert all(torch.equal(value, again.whole(2)[name]) for name, value in whole.whole(2).items())


def test_a_defense_whose_layers_are_trained_before_is_refused_still_also_in_a_chain():
    for defense in ({"name": "cem"}, {"name": "mid", "then": {"name": "cem"}}):
        with pytest.raises(ConfigError, match=r"changes the layers at the cut|hardens a trained model"):
            Run(planned("splitfed-v3", defense=defense)).checked()


def test_the_experiment_is_that_plan():
    plan = load(ROOT / "experiments" / "train-rve-pfl.toml")
    assert (plan.row.head, plan.row.tail, plan.defense.name) == ("own", "copies", "mid")
    assert dataclasses.replace(plan, name="x").id == plan.id
