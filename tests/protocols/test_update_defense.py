"""The defense of updates in a training: what is sent and refused, and that a killed run ends with the same bits."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.defenses.updates.base import Local, UpdateDefense
from cutlayer.errors import ConfigError
from cutlayer.models import zoo
from cutlayer.protocols.draws import Role, generator
from cutlayer.protocols.plan import load, toml
from cutlayer.protocols.setup import untrained
from cutlayer.protocols.sight import label
from cutlayer.protocols.update_defense import update_defense
from cutlayer.spec import image_spec
from cutlayer.wire.training import unpacked
from tests.protocols.direct import CLASSES, INPUT, Run, model, planned
from tests.protocols.survival import World

DGP = {"name": "dgp", "smallest": 0.5}
DGC = {"name": "dgc", "sparsity": 0.8}
NOISE = {"name": "noise", "sigma": 0.01}
PRUNE = {"name": "prune", "rate": 0.75}


@dataclass(kw_only=True)
class Negative(UpdateDefense):
    """Train on negatives, and with a layer of its own; a toy."""

    knob = "strength"
    plain_words = "turns pictures into negatives"
    strength: float = 1.0
    doubled: bool = False
    wider: bool = False

    def augment(self, inputs: Tensor, labels: Tensor, rng: Any, local: Local) -> tuple[Tensor, Tensor]:
        out = self.strength - inputs
        return (torch.cat([out, out]), torch.cat([labels, labels])) if self.doubled else (out, labels)


@dataclass(kw_only=True)
class Rebuilt(UpdateDefense):
    """Give the model another last layer; a toy."""

    knob = "strength"
    plain_words = "replaces a layer"
    strength: float = 1.0

    def rebuilt(self, model: nn.Module, input: Any, classes: int) -> nn.Module:
        model.fc3 = nn.Linear(84, classes)
        return model


@dataclass(kw_only=True)
class Looking(UpdateDefense):
    """Run the model in training mode, draw at random, and change nothing; a toy."""

    knob = "strength"
    plain_words = "looks at what the model says"
    strength: float = 1.0

    def augment(self, inputs: Tensor, labels: Tensor, rng: Any, local: Local) -> tuple[Tensor, Tensor]:
        local.model(inputs)
        torch.rand(3)
        return inputs, labels

    def protect(self, update: Any, rng: Any, state: Any, local: Local | None) -> Any:
        assert local is not None
        local.model(local.inputs)
        return update


def own(kind: type, **options: Any) -> dict[str, Any]:
    return {"name": f"{__name__}:{kind.__name__}", **options}


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def delivered(run: Run, client: int, round: int = 1) -> dict[str, Tensor]:
    events = [event for event in run.heard if event.name == "collected" and event.client == client]
    found: dict[str, Tensor] = next(event.what["weights"] for event in events if event.round == round)
    return found


@pytest.mark.parametrize(
    ("protocol", "defense"),
    [("fedavg", NOISE), ("splitfed-v1", NOISE), ("splitfed-v2", PRUNE), ("parallel", PRUNE)],
)
def test_what_a_client_delivers_is_what_it_received_plus_the_protected_change(protocol, defense):
    plan = planned(protocol, rounds=1, update_defense=defense)
    plain, run = (Run(p).checked() for p in (planned(protocol, rounds=1), plan))
    before = {name: p.detach() for name, p in model().named_parameters()}
    for client in (1, 2):
        ours, theirs = delivered(run, client), delivered(plain, client)
        update = {name: theirs[name] - before[name] for name in before if name in ours}
        sent = update_defense(plan.update_defense).protect_update(
            update, generator(0, Role.UPDATE, client, 1), {}, None
        )
        assert ours.keys() == theirs.keys()
        for name in ours:
            # Running statistics are no parameters.
            expected = before[name] + sent[name] if name in before else theirs[name]
            torch.testing.assert_close(ours[name], expected, rtol=0, atol=0)
        assert not torch.equal(ours["conv1.weight"], theirs["conv1.weight"])


def test_the_gradients_of_each_step_are_protected_where_they_are_summed():
    parallel = {"name": "parallel", "sync": "step"}
    plan = planned(parallel, rounds=1, update_defense=PRUNE)
    plain, run = (Run(p).checked() for p in (planned(parallel, rounds=1), plan))

    def first(run: Run) -> dict[int, dict[str, Tensor]]:
        asks = [ask for ask in run.asked if ask.parameters.get("sum") and ask.parameters["step"] == 0]
        return {int(ask.session[-1]): unpacked(ask.tensors["gradients"]) for ask in asks}

    for client, gradients in first(plain).items():
        sent = update_defense(plan.update_defense).protect_update(
            gradients, generator(0, Role.UPDATE, client, 1), {}, None
        )
        assert_same(dict(sent), first(run)[client])
        assert (sent["conv1.weight"] == 0).float().mean() >= 0.75
    assert not torch.equal(plain.whole(1)["conv1.weight"], run.whole(1)["conv1.weight"])


@pytest.mark.parametrize("defense", [{"name": "clip", "bound": 1e9}, {"name": "prune", "rate": 0.0}])
def test_a_defense_that_changes_nothing_leaves_the_training_as_it_is_bit_for_bit(defense):
    plain, run = (Run(planned("fedavg", **more)).checked() for more in ({}, {"update_defense": defense}))
    assert_same(run.whole(1), plain.whole(1))


@pytest.mark.parametrize(
    ("protocol", "defense"),
    [("fedavg", DGP), ({"name": "parallel", "sync": "step"}, DGC)],
    ids=["fedavg-dgp", "parallel-dgc"],
)
def test_a_run_whose_parties_are_killed_ends_with_the_same_bits(tmp_path, protocol, defense):
    plan = planned(protocol, clients=2, rounds=3, evaluate_rounds=3, update_defense=defense)
    calm = World(plan, tmp_path / "calm", f"inprocess://calm-{tmp_path.name}")
    undisturbed = calm.train()
    n = calm.asks
    deaths = {0: {n // 2: ""}, 1: {n // 5: "after"}, 2: {n // 4: "before"}}
    wild = World(plan, tmp_path / "wild", f"inprocess://wild-{tmp_path.name}", deaths)
    assert_same(wild.train(), undisturbed)
    assert wild.lives[0] == 2
    assert wild.lives[1] + wild.lives[2] > 2


def test_what_was_not_sent_is_in_the_checkpoint_and_counts():
    plan = planned("fedavg", rounds=2, clients=2, update_defense=DGP)
    whole = Run(plan).checked()
    kept = {name for name in whole.kept[1][1][0] if name.startswith("update/residual/")}
    assert kept == {f"update/residual/{name}" for name, _ in model().named_parameters()}
    again = Run(plan, after=(whole, 1)).checked()
    assert_same(again.whole(1), whole.whole(1))
    forgetful = copy.copy(whole)
    forgetful.kept = copy.deepcopy(whole.kept)
    for client in (1, 2):
        for name in kept:
            del forgetful.kept[1][client][0][name]
    other = Run(plan, after=(forgetful, 1)).checked()
    assert not torch.equal(other.whole(1)["conv1.weight"], whole.whole(1)["conv1.weight"])


def test_soteria_finds_its_layer_in_a_whole_model_and_says_so_where_a_head_has_none():
    defense = {"name": "soteria", "rate": 0.5}
    run = Run(planned("fedavg", rounds=1, clients=1, update_defense=defense)).checked()
    change = delivered(run, 1)["fc2.weight"] - model().state_dict()["fc2.weight"]
    assert (change == 0).all(0).sum() == 8
    with pytest.raises(ConfigError, match="cut the model behind one"):
        Run(planned("splitfed-v1", rounds=1, clients=1, update_defense=defense)).checked()


def test_samples_are_changed_before_they_pass_the_head():
    plain, run = (
        Run(planned("vanilla", rounds=1, clients=1, **more), make=lambda: model(bn=False)).checked()
        for more in ({}, {"update_defense": own(Negative)})
    )
    sent, other = (next(e.what for e in r.seen[1] if e.name == "sent") for r in (run, plain))
    assert np.array_equal(sent["index"], other["index"])
    inputs = torch.from_numpy(run.data[1].inputs[sent["index"]])
    with torch.no_grad():
        expected = nn.Sequential(*list(model(bn=False).children())[:3])(1 - inputs)
    torch.testing.assert_close(sent["smashed"], expected)
    doubled = planned("vanilla", rounds=1, clients=1, update_defense=own(Negative, doubled=True))
    with pytest.raises(ConfigError, match="take fedavg, which sends none"):
        Run(doubled).checked()
    Run(planned("fedavg", rounds=1, clients=1, update_defense=own(Negative, doubled=True))).checked()


def test_a_model_with_a_loss_of_its_own_is_trained_on_it():
    plan = planned("fedavg", rounds=1, clients=1, update_defense="precode")

    def make() -> nn.Module:
        with torch.random.fork_rng([]):
            torch.manual_seed(1)
            return update_defense(plan.update_defense).rebuilt(model(), INPUT, CLASSES)

    seen = []

    def heard(self: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        seen.append(len(inputs))
        return functional.cross_entropy(self(inputs), labels)

    def spied() -> nn.Module:
        made = make()
        made.training_loss = heard.__get__(made)
        return made

    assert Run(plan, make=make).checked().accuracies()
    Run(plan, make=spied).checked()
    assert sum(seen) == 21


def test_both_sides_build_the_same_model_as_the_defense_has_it():
    plan = planned("fedavg", model="lenet", update_defense=own(Rebuilt))
    input = image_spec(1, 8, 8)
    first, again = (untrained(plan, input, 4).state_dict() for _ in range(2))
    assert_same(first, again)
    usual = untrained(planned("fedavg", model="lenet"), input, 4).state_dict()
    assert_same(usual, zoo.build("lenet", input, 4, int(generator(0, Role.MODEL).integers(1 << 32))).state_dict())
    assert not torch.equal(first["fc3.weight"], usual["fc3.weight"])
    assert torch.equal(first["fc2.weight"], usual["fc2.weight"])


def test_a_plan_without_it_keeps_its_id_and_one_with_it_is_written_and_read(tmp_path):
    assert planned().id == "7cffc909296c"
    plan = planned("fedavg", update_defense=PRUNE)
    assert planned("fedavg", update_defense="none").id == planned("fedavg").id
    assert len({plan.id, planned("fedavg").id, planned("fedavg", update_defense={**PRUNE, "rate": 0.5}).id}) == 3
    (tmp_path / "plan.toml").write_text(toml(plan))
    assert load(tmp_path / "plan.toml") == plan
    assert load(tmp_path / "plan.toml", {"update_defense.rate": "0.5"}).update_defense.options["rate"] == 0.5
    assert "prune" in label(plan)


@pytest.mark.parametrize(
    ("protocol", "changes", "message"),
    [
        ("vanilla", {}, "hands one head on"),
        ("u-shaped", {"end": "relu3"}, "hands one head on"),
        ("own-heads", {}, "keep their heads"),
        ("local", {}, "keep their heads"),
        ("local-loss", {}, "auxiliary classifiers"),
        ("fedavg", {"optimizer_state": "average"}, "what the optimizers remember"),
        ("splitfed-v1", {"update_defense": {"name": "censor"}}, "the loss of the whole model.*take fedavg"),
        (
            "splitfed-v1",
            {"update_defense": {"name": "layer-prune", "by": "sensitivity"}},
            "the loss of the whole model",
        ),
        ("vanilla", {"update_defense": "dcs2"}, "the loss of the whole model"),
        ("vanilla", {"update_defense": "refiner"}, "the loss of the whole model"),
        ("vanilla", {"update_defense": own(Rebuilt)}, "changes the whole model"),
        ("fedavg", {"update_defense": own(Negative), "dp": {"clip": 1.0}}, "being in one row"),
        ("fedavg", {"update_defense": "fragments"}, "set secure_aggregation = true"),
        ("fedavg", {"update_defense": "pruun"}, "did you mean prune"),
        ("fedavg", {"update_defense": {"name": "prune", "rate": 2.0}}, "prune.rate must be 0 to 1"),
    ],
)
def test_a_plan_in_which_it_has_no_place_is_refused(protocol, changes, message):
    with pytest.raises(ConfigError, match=message):
        planned(protocol, **{"update_defense": PRUNE, **changes})


@pytest.mark.parametrize("protocol", ["fedavg", {"name": "parallel", "sync": "step"}], ids=["fedavg", "parallel"])
def test_a_defense_that_runs_the_model_leaves_its_running_statistics_alone(protocol):
    plain, run = (
        Run(planned(protocol, rounds=2, clients=2, **more)).checked() for more in ({}, {"update_defense": own(Looking)})
    )
    assert_same(run.whole(1), plain.whole(1))
