"""What a training over messages computes equals what one process computes, bit for bit (A1, A4), or nearly (A5, A6)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.protocols.plan import TrainingPlan
from cutlayer.protocols.schedule import batches
from tests.protocols.direct import Run, dataset, model, planned

STEPS = {
    "sgd": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3},
    "adam": {"name": "adam", "lr": 1e-3},
    "adamw": {"name": "adamw", "lr": 1e-3, "weight_decay": 1e-2},
}
SMALL = (13, 5, 9)
CHOSEN = pytest.mark.parametrize("optimizer", list(STEPS))


def new(optimizer: str, net: nn.Module) -> torch.optim.Optimizer:
    options = {key: value for key, value in STEPS[optimizer].items() if key != "name"}
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optimizer]
    return kind(net.parameters(), **options)


def joint(plan: TrainingPlan, net: nn.Module, optimizer: str, clients: dict[int, Any]) -> dict[str, Tensor]:
    """One model, one optimiser, no cut: client after client, in plain torch."""
    torch.set_num_threads(1)
    steps = new(optimizer, net.train())
    for number in range(1, plan.rounds + 1):
        for client, data in clients.items():
            for index in batches(plan, client, len(data), number, 0):
                steps.zero_grad()
                x, y = torch.from_numpy(data.inputs[index]), torch.from_numpy(data.labels[index])
                functional.cross_entropy(net(x.clone()), y).backward()
                steps.step()
    return net.state_dict()


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


@CHOSEN
def test_clients_in_turn_with_a_u_shaped_model_are_one_joint_training(optimizer: str) -> None:
    plan = planned("u-shaped", end="relu3", rounds=5, optimizer=STEPS[optimizer], evaluate_rounds=5)
    finished = Run(plan).checked()
    assert_same(finished.whole(3), joint(plan, model(), optimizer, finished.data))


def test_dropout_draws_the_same_masks_wherever_the_model_is_cut() -> None:
    finals = []
    for protocol, cut in (
        ("splitfed-v1", "pool"),
        ("splitfed-v1", "fc1"),
        ("splitfed-v1", "relu1"),
        ("fedavg", "pool"),
    ):
        run = Run(planned(protocol, cut=cut), lambda: model(dropout=True)).checked()
        finals.append(run.whole(1))
    for other in finals[1:]:
        assert_same(finals[0], other)
    masks = Run(planned("fedavg", seed=1), lambda: model(dropout=True), SMALL).checked()
    assert not torch.equal(masks.whole(1)["fc2.weight"], finals[0]["fc2.weight"])


@pytest.mark.parametrize(
    ("optimizer", "state"), [("sgd", "keep"), ("adam", "average"), ("adamw", "keep"), ("adam", "reset")]
)
def test_splitfed_v1_is_fedavg(optimizer: str, state: str) -> None:
    changes = {"rounds": 3, "optimizer": STEPS[optimizer], "optimizer_state": state, "epochs": 2}
    split, whole = (Run(planned(name, **changes), sizes=SMALL).checked() for name in ("splitfed-v1", "fedavg"))
    assert_same(split.whole(1), whole.whole(1))
    assert split.accuracies() == whole.accuracies()


@pytest.mark.parametrize("protocol", ["splitfed-v1", "splitfed-v2", "parallel"])
def test_one_cut_for_each_client_is_one_cut_for_all_if_they_are_equal(protocol: str) -> None:
    one, each = (Run(planned(protocol, cut=cut), sizes=SMALL).checked() for cut in ("pool", ["pool"] * 3))
    assert_same(one.whole(2), each.whole(2))


def test_clients_of_splitfed_v1_may_cut_where_they_like() -> None:
    cuts = Run(planned("splitfed-v1", cut=["relu1", "fc1", "pool"]), sizes=SMALL).checked()
    whole = Run(planned("fedavg"), sizes=SMALL).checked()
    assert_same(cuts.coordinator.tails.weights(), whole.coordinator.tails.weights())


@pytest.mark.parametrize("protocol", ["splitfed-v2", "parallel"])
def test_a_layer_on_both_sides_is_averaged_over_both(protocol: str) -> None:
    run = Run(planned(protocol, cut=["relu1", "fc1", "pool"], rounds=1)).checked()
    collected = {e.client: e.what["weights"] for e in run.heard if e.name == "collected"}
    [averaged] = [e.what["weights"] for e in run.heard if e.name == "averaged"]
    n = {k: len(data) for k, data in run.data.items()}
    assert [k for k in n if "conv2.weight" in collected[k]] == [2]
    first = sum(n[k] * collected[k]["conv1.weight"].double() for k in n) / sum(n.values())
    assert torch.equal(averaged["conv1.weight"], first.float())
    # The server's value of conv2 has the weight of the clients 1 and 3, who left the layer to it.
    rest = sum(n.values()) - n[2]
    server = (averaged["conv2.weight"].double() * sum(n.values()) - n[2] * collected[2]["conv2.weight"].double()) / rest
    apart = (server - collected[2]["conv2.weight"].double()).abs().max()
    assert 1e-5 < apart < 0.1


def test_parallel_clients_in_step_are_one_client_with_the_union_of_their_batches() -> None:
    optimizer = {"name": "sgd", "lr": 0.05}
    plan = planned({"name": "parallel", "sync": "step"}, rounds=7, optimizer=optimizer, evaluate_rounds=7)
    run = Run(plan, lambda: model(bn=False), (21, 13, 30)).checked()
    net, taken = model(bn=False), 0
    for number in range(1, 8):
        of = {k: batches(plan, k, len(data), number, 0) for k, data in run.data.items()}
        for step in range(max(map(len, of.values()))):
            there = [(run.data[k], index[step]) for k, index in of.items() if step < len(index)]
            x = torch.cat([torch.from_numpy(data.inputs[index]) for data, index in there])
            y = torch.cat([torch.from_numpy(data.labels[index]) for data, index in there])
            net.zero_grad()
            functional.cross_entropy(net(x), y).backward()
            with torch.no_grad():
                for parameter in net.parameters():
                    parameter -= 0.05 * parameter.grad
            taken += 1
    assert taken >= 20
    for client in (1, 2, 3):
        for name, value in run.whole(client).items():
            assert (value - net.state_dict()[name]).abs().max() < 1e-5, (client, name)


def test_heads_that_step_on_their_own_get_the_gradient_of_their_own_batch() -> None:
    optimizer = {"name": "sgd", "lr": 0.1}
    run = Run(
        planned("parallel", rounds=1, batch=32, clients=2, optimizer=optimizer), lambda: model(bn=False), (25, 7)
    ).checked()
    data = {k: (torch.from_numpy(d.inputs), torch.from_numpy(d.labels)) for k, d in run.data.items()}
    for client, (x, y) in data.items():
        net = model(bn=False)
        functional.cross_entropy(net(x), y).backward()
        [delivered] = [e.what["weights"] for e in run.seen[client] if e.name == "delivered"]
        expected = model(bn=False).conv1.weight - 0.1 * net.conv1.weight.grad
        assert (delivered["conv1.weight"] - expected).abs().max() < 1e-6
    # The tail steps on the mean over the union, in which the larger batch counts more.
    net = model(bn=False)
    x, y = (torch.cat(parts) for parts in zip(*data.values(), strict=True))
    functional.cross_entropy(net(x), y).backward()
    expected = model(bn=False).fc2.weight - 0.1 * net.fc2.weight.grad
    assert (run.coordinator.tails.weights()["fc2.weight"] - expected).abs().max() < 1e-6


def test_what_is_measured_is_the_model_whose_buffers_were_updated() -> None:
    for protocol in ("vanilla", "splitfed-v1", "parallel"):
        run = Run(planned(protocol)).checked()
        net, test = model(), dataset(40, 99)
        net.load_state_dict(run.whole(min(3, run.accuracies()[-1][1])))
        assert net.bn2.num_batches_tracked > 0
        with torch.no_grad():
            answers = net.eval()(torch.from_numpy(test.inputs)).argmax(1)
        assert run.accuracies()[-1][2] == pytest.approx(float((answers.numpy() == test.labels).mean()))
