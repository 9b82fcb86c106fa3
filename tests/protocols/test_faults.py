"""The faults of released implementations of split learning, each of which a training here must not have."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from cutlayer.cloud.training.coordinator import Coordinator
from cutlayer.cloud.training.tails import Tails
from cutlayer.errors import ConfigError, SplitError
from cutlayer.protocols.coding import Coding, decoded
from cutlayer.protocols.cutting import pieces
from cutlayer.protocols.draws import Role, generator
from cutlayer.protocols.party import Party
from cutlayer.protocols.plan import Optimizer
from cutlayer.protocols.schedule import batches
from cutlayer.registry import defense_from
from cutlayer.wire.training import Call
from tests.protocols.direct import CLASSES, INPUT, Run, dataset, model, planned
from tests.protocols.test_exact import SMALL, assert_same

ADAM = Optimizer("adam", 0.01)


def stepped(party: Party, seed: int = 0) -> None:
    x = torch.from_numpy(dataset(8, seed).inputs)
    functional.cross_entropy(party.modules[0](x), torch.from_numpy(dataset(8, seed).labels)).backward()
    party.step()


def test_loading_keeps_the_parameters_and_the_optimiser_goes_on_with_them() -> None:
    party, other = Party([model()], ADAM), Party([model()], ADAM)
    before = dict(party.parameters)
    for each in (party, other):
        stepped(each)
    party.load(party.weights())
    assert all(party.parameters[name] is before[name] for name in before)
    for each in (party, other):
        stepped(each, 1)
    assert_same(party.weights(), other.weights())


def test_an_optimisers_state_goes_by_names() -> None:
    party = Party([model()], ADAM)
    stepped(party)
    state = party.optimizer_state()
    backwards = Party([model()], ADAM)
    backwards.load(party.weights())
    backwards.load_optimizer(dict(reversed(state.items())))
    for each in (party, backwards):
        stepped(each, 1)
    assert_same(party.weights(), backwards.weights())
    with pytest.raises(SplitError, match="conv9"):
        party.load_optimizer({"conv9.weight/exp_avg": torch.zeros(1)})
    with pytest.raises(SplitError, match="shape"):
        party.load_optimizer({"fc1.bias/exp_avg": torch.zeros(3)})


def test_weights_are_copies_and_a_wrong_one_changes_nothing() -> None:
    party = Party([model()], ADAM)
    before = party.weights()
    wrong = {"conv1.weight": torch.ones_like(before["conv1.weight"]), "fc2.bias": torch.zeros(9)}
    with pytest.raises(SplitError, match=r"fc2\.bias"):
        party.load(wrong)
    assert_same(before, party.weights())
    stepped(party)
    assert not torch.equal(before["fc2.bias"], party.weights()["fc2.bias"])


def test_the_average_does_not_change_what_the_last_client_delivered() -> None:
    finished = Run(planned("splitfed-v1", rounds=1)).checked()
    for client in finished.clients:
        [delivered] = [e.what["weights"] for e in finished.seen[client] if e.name == "delivered"]
        [collected] = [e.what["weights"] for e in finished.heard if (e.name, e.client) == ("collected", client)]
        assert_same(delivered, collected)
    [mean] = [e.what["weights"] for e in finished.heard if e.name == "averaged"]
    assert all(not torch.equal(mean["conv1.weight"], e.what["weights"]["conv1.weight"])
               for e in finished.heard if e.name == "collected")  # fmt: skip


def test_the_optimisers_of_both_sides_are_kept_unless_the_plan_resets_them() -> None:
    kept, reset = (Run(planned("splitfed-v1", optimizer_state=state)).checked() for state in ("keep", "reset"))
    rounds = {r.plan.optimizer_state: r.kept[2] for r in (kept, reset)}
    for state, steps in (("keep", 6), ("reset", 3)):
        assert rounds[state][1][1]["conv1.weight/step"] == steps
        assert rounds[state][0][1]["1/fc2.weight/step"] == steps


def test_a_sampled_round_is_averaged_over_those_who_were_chosen() -> None:
    finished = Run(planned("splitfed-v2", sampling=0.67, rounds=4)).checked()
    there = [{e.client for e in finished.heard if (e.name, e.round) == ("collected", r)} for r in range(1, 5)]
    assert [len(clients) for clients in there] == [2] * 4
    assert len(set(map(frozenset, there))) > 1
    collected = {
        e.client: e.what["weights"]["conv1.weight"] for e in finished.heard if (e.name, e.round) == ("collected", 4)
    }
    n = {client: len(finished.data[client]) for client in collected}
    mean = sum(n[k] * collected[k].double() for k in sorted(n)) / sum(n.values())
    assert torch.equal(finished.coordinator.tails.weights()["conv1.weight"], mean.float())


@pytest.mark.parametrize("bn", ["shared", "local", "statistics-local"])
def test_what_of_batch_normalization_travels_is_an_option(bn: str) -> None:
    finished = Run(planned("splitfed-v1", bn=bn)).checked()
    [names] = {frozenset(e.what["weights"]) for e in finished.heard if e.name == "collected"}
    assert ("bn1.weight" in names) == (bn != "local")
    assert ("bn1.running_mean" in names) == (bn == "shared")
    means = [client.weights()["bn1.running_mean"] for client in finished.clients.values()]
    assert not torch.equal(means[0], means[1])
    # Where the models of the clients differ, each measures its own.
    assert [client for round, client, _ in finished.accuracies() if round == 2] == (
        [1] if bn == "shared" else [1, 2, 3]
    )


def test_heads_of_their_own_never_meet_and_heads_in_one_piece_are_handed_on() -> None:
    own = Run(planned("own-heads")).checked()
    assert not any("weights" in ask.tensors for ask in own.asked)
    assert not torch.equal(own.clients[1].weights()["conv1.weight"], own.clients[2].weights()["conv1.weight"])
    third = Run(planned("splitfed-v3")).checked()
    assert not any("weights" in ask.tensors for ask in third.asked)
    tails = third.kept[2][0][0]
    assert_same(
        {n[2:]: v for n, v in tails.items() if n[:2] == "1/"}, {n[2:]: v for n, v in tails.items() if n[:2] == "2/"}
    )


def test_u_shaped_labels_never_leave_the_client() -> None:
    finished = Run(planned("u-shaped", end="relu3")).checked()
    for ask in finished.asked:
        assert ask.tensors.keys() <= {"smashed", "gradient", "weights", "optimizer", "correct", "total"}
        for name, tensor in ask.tensors.items():
            assert tensor.datatype != "INT64" or (ask.call is Call.EVALUATE and name in ("correct", "total"))
    assert all("labels" not in event.what for event in finished.heard)
    steps = [ask for ask in finished.asked if ask.call is Call.STEP]
    assert [list(ask.tensors) for ask in steps[:4]] == [["smashed"], ["gradient"]] * 2


def test_a_local_loss_needs_no_gradient_and_sends_every_second_batch() -> None:
    finished = Run(planned("local-loss", auxiliary_every=2, rounds=1)).checked()
    assert not any(e.name == "learned" for events in finished.seen.values() for e in events)
    assert ("down", "step", "gradient") not in finished.coordinator.traffic
    received = [e.client for e in finished.heard if e.name == "received"]
    assert sorted(received) == [1, 1, 2, 3]
    [mean] = [e.what["weights"] for e in finished.heard if e.name == "averaged"]
    assert not torch.equal(
        mean["auxiliary-pool.weight"], Run(planned("local-loss", seed=1)).kept[2][1][0]["head/auxiliary-pool.weight"]
    )
    assert not torch.equal(mean["conv1.weight"], model().conv1.weight)


def test_an_option_of_another_protocol_changes_nothing() -> None:
    plain, stated = (Run(planned("splitfed-v1", rounds=1, **more)).checked() for more in ({}, {"auxiliary_every": 3}))
    assert_same(stated.whole(1), plain.whole(1))


def test_batches_alternate_where_the_plan_says_so() -> None:
    finished = Run(planned({"name": "own-heads", "order": "batches"}, rounds=1)).checked()
    assert [e.client for e in finished.heard if e.name == "received"] == [1, 2, 3, 1, 2, 3, 1]


@pytest.mark.parametrize("pieces", [1, 4])
def test_a_loss_that_is_not_finite_ends_the_training_for_all_and_is_not_applied(pieces: int) -> None:
    class Bursting(Tails):
        """The first step of each client is as usual; with its weights the second one gives no number."""

        def apply(self, client: int) -> None:
            super().apply(client)
            party = self._tail(client)[1]
            party.load({"fc2.weight": torch.full_like(party.parameters["fc2.weight"], 3e38)})

    finished = Run(planned("splitfed-v1", micro_batches=pieces), tails=Bursting)
    assert len(finished.errors) == 3
    assert len({str(error) for error in finished.errors}) == 1
    assert re.search(r"diverged: the loss is (nan|inf) at client [123], round 1, step 1\.", str(finished.errors[0]))
    assert str(finished.coordinator.failed) == str(finished.errors[0])
    assert all(torch.isfinite(value).all() for client in (1, 2, 3) for value in finished.whole(client).values())


def test_a_client_whose_gradient_is_not_finite_tells_the_server_which_ends_the_training() -> None:
    class Huge(Tails):
        def backward(self, *args: Any) -> tuple[float, list[torch.Tensor]]:
            loss, gradients = super().backward(*args)
            return loss, [gradient + 3e38 for gradient in gradients]

    finished = Run(planned("vanilla"), tails=Huge)
    assert "diverged: a gradient of its layers is not finite at client 1, round 1, step 0" in str(finished.errors[0])
    assert all(torch.isfinite(value).all() for value in finished.clients[1].weights().values())


def test_a_resumed_training_goes_on_with_the_same_bits() -> None:
    feedback = {"smashed": "int8", "gradient": "int8", "error_feedback": True}
    rows: list[tuple[Any, dict[str, Any]]] = [
        ("vanilla", {"codec": feedback}), ("u-shaped", {"end": "relu3", "codec": feedback}), ("own-heads", {}),
        ("splitfed-v1", {"bn": "local"}), ("splitfed-v2", {"optimizer_state": "average"}),
        ({"name": "parallel", "sync": "step"}, {}), ("local-loss", {}), ("fedavg", {"sampling": 0.67}),
        ("splitfed-v1", {"defense": {"name": "ressfl", "bottleneck": "", "every": 2, "threshold": 0.0, **LIGHT}}),
    ]  # fmt: skip
    for protocol, changes in rows:
        plan = planned(protocol, **changes)
        whole = Run(plan, lambda: model(dropout=True), SMALL).checked()
        resumed = Run(plan, lambda: model(dropout=True), SMALL, after=(whole, 1)).checked()
        for client in whole.clients:
            assert_same(whole.whole(client), resumed.whole(client))
        assert whole.accuracies()[-1:] == resumed.accuracies()[-1:]


def test_a_checkpoint_of_another_plan_is_refused() -> None:
    one = Run(planned(rounds=1)).checked()
    other = Coordinator(planned(rounds=1, seed=1), model(), INPUT, CLASSES)
    with pytest.raises(SplitError, match="name another folder"):
        other.load(*one.kept[1][0])


def test_the_bytes_are_those_of_the_codecs_and_both_sides_know_what_arrived() -> None:
    finished = Run(planned(codec={"smashed": "int8", "gradient": "fp16"}, rounds=1)).checked()
    traffic, n = finished.coordinator.traffic, sum(map(len, finished.data.values()))
    assert traffic["down", "step", "gradient"] == n * 4 * 4 * 4 * 2
    assert traffic["up", "step", "labels"] == n * 8
    assert n * 64 < traffic["up", "step", "smashed"] < n * 64 * 1.5
    answered = [e.what["gradient"] for e in finished.heard if e.name == "answered"]
    learned = [e.what["gradient"] for k in (1, 2, 3) for e in finished.seen[k] if e.name == "learned"]
    assert all(torch.equal(a.half().float(), b) for a, b in zip(answered, learned, strict=True))


def test_error_feedback_sends_later_what_a_codec_lost() -> None:
    always = torch.from_numpy(np.random.default_rng(0).random((4, 64), np.float32))
    for feedback in (True, False):
        coding, lost = Coding("top-k:0.25", feedback), torch.zeros(4, 64)
        for _ in range(40):
            lost += always - decoded(coding.encode(always))
        assert (float(lost.abs().max()) < 3) is feedback
        assert (float(lost.abs().max()) > 20) is not feedback


@pytest.mark.parametrize("defense", [{"name": "gaussian-noise", "sigma": 0.3}, {"name": "quantize", "bits": 2}])
def test_a_defense_acts_on_what_is_sent_and_its_gradient_is_its_own_or_passed_through(defense: dict[str, Any]) -> None:
    optimizer = {"name": "sgd", "lr": 0.1}
    finished = Run(planned(defense=defense, rounds=1, clients=1, batch=32, optimizer=optimizer), sizes=(20,)).checked()
    [sent], [received] = (
        [e for e in events if e.name == name]
        for events, name in ((finished.seen[1], "sent"), (finished.heard, "received"))
    )
    head = pieces(finished.plan, 1, model(), INPUT, CLASSES).head.train()
    features = head(torch.from_numpy(finished.data[1].inputs[sent.what["index"]]))
    expected = defense_from(defense).protect(features, generator(0, Role.PROTECT, 1, 1, 0))
    assert torch.equal(expected.detach(), received.what["smashed"])
    assert not torch.equal(features.detach(), received.what["smashed"])
    [learned] = [e.what["gradient"] for e in finished.seen[1] if e.name == "learned"]
    (expected if expected.requires_grad else features).backward(learned)
    weight = dict(head.named_parameters())["conv1.weight"]
    assert weight.grad is not None
    assert weight.grad.abs().max() > 0.01
    assert (finished.clients[1].weights()["conv1.weight"] - (weight - 0.1 * weight.grad)).abs().max() < 1e-7


LIGHT = {"decoder": "conv_normN0C16"}


@pytest.mark.parametrize(
    ("defense", "protocol"),
    [
        *(({"name": "nopeek"}, row) for row in ("vanilla", "local-loss", {"name": "parallel", "sync": "step"})),
        ({"name": "ressfl", "bottleneck": "", "threshold": 0.0, "steps": 2, **LIGHT}, "local-loss"),
        ({"name": "adversarial", "measure": "mse", **LIGHT}, "splitfed-v1"),
    ],
)
def test_a_defense_may_add_to_the_loss_of_the_device(defense: dict[str, Any], protocol: Any) -> None:
    changes = {"rounds": 1, "clients": 2, "batch": 32, "optimizer": {"name": "sgd", "lr": 0.1}}
    weights, data = {}, {}
    for weight in (0.0, 2.0):
        plan = planned(protocol, defense={**defense, "weight": weight}, **changes)
        finished = Run(plan, lambda: model(bn=False), (20, 12)).checked()
        [weights[weight]] = [e.what["weights"] for e in finished.heard if e.name == "averaged"]
        data = finished.data
    # The first step of each client differs by the gradient of the penalty alone.
    moved = 0.0
    for client, own in data.items():
        (index,) = batches(finished.plan, client, len(own), 1, 0)
        net, x = model(bn=False), torch.from_numpy(own.inputs)[torch.from_numpy(index)]
        defense_from({**defense, "weight": 2.0}).penalty(x, net[:3](x)).backward()
        share = 1.0 if protocol == "vanilla" else len(own) / 32
        moved = moved - 0.1 * share * net.conv1.weight.grad
    apart = weights[2.0]["conv1.weight"] - weights[0.0]["conv1.weight"]
    if protocol == "vanilla":
        # The second client begins where the first one has ended.
        assert apart.abs().max() > 1e-4
    else:
        assert (apart - moved).abs().max() < 1e-6


def test_a_defense_that_has_no_part_in_a_training_is_refused() -> None:
    for name in ("bido", "patrol", "crafter"):
        with pytest.raises(ConfigError, match="hardens a trained model"):
            planned(defense=name)
    with pytest.raises(ConfigError, match="learns from whole batches"):
        planned(defense="adversarial", micro_batches=2)
    with pytest.raises(ConfigError, match="sends no smashed data"):
        planned("fedavg", defense={"name": "gaussian-noise", "sigma": 0.1})
    with pytest.raises(ConfigError, match="changes the layers at the cut"):
        Run(planned(defense={"name": "gaussian-noise", "sigma": 0.1, "bound": "tanh"}))


def test_a_batch_in_pieces_is_one_step() -> None:
    changes = {"optimizer": {"name": "sgd", "lr": 0.05}, "batch": 16}
    for protocol in ("vanilla", "splitfed-v1", {"name": "own-heads", "order": "batches"}):
        whole, cut = (
            Run(planned(protocol, micro_batches=m, **changes), lambda: model(bn=False), SMALL).checked() for m in (1, 3)
        )
        for name, value in whole.whole(2).items():
            assert (value - cut.whole(2)[name]).abs().max() < 1e-6
    with pytest.raises(ConfigError, match="leave micro_batches out"):
        planned("parallel", micro_batches=2)
