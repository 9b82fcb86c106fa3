"""A server that changes the model: what it gets (A15), and how a client sees it."""

import copy

import pytest
import torch
from torch import nn

from cutlayer.attacks.gradients.imprint import Imprint, ImprintAttack
from cutlayer.defenses.updates.inspection import faults, repeated_rows
from cutlayer.errors import ConfigError
from cutlayer.models.zoo import build
from tests.attacks.gradients.measured import psnr, updates


def test_a15_most_of_64_samples_are_alone_in_a_row(mnist, mnist_view):
    attack = ImprintAttack()
    model = build("lenet", mnist.input, 10)
    sent = attack.broadcast(mnist_view, model)
    assert (psnr(attack, mnist_view, updates(sent, mnist, 64, 128)) > 40).mean() > 0.75
    few = ImprintAttack(bins=8)
    alone = psnr(few, mnist_view, updates(few.broadcast(mnist_view, model), mnist, 64, 64)) > 40
    assert alone.mean() < 0.2


def test_the_model_behind_goes_on_as_before_and_is_not_changed(mnist, mnist_view):
    model = build("lenet", mnist.input, 10)
    before = copy.deepcopy(model.state_dict())
    sent = ImprintAttack().broadcast(mnist_view, model)
    inputs = torch.from_numpy(mnist.private.inputs[:50])
    with torch.no_grad():
        assert (sent(inputs).argmax(1) == model(inputs).argmax(1)).float().mean() > 0.9
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_update_of_a_model_without_the_layer_is_refused(mnist, mnist_view):
    (made,) = updates(build("lenet", mnist.input, 10), mnist, 1, 1)
    with pytest.raises(ConfigError, match="the update is from a model without it"):
        ImprintAttack().invert(mnist_view, [made.observation])


def test_the_client_finds_the_layer_by_its_structure_and_by_its_rows(mnist, mnist_view):
    model = build("lenet", mnist.input, 10)
    sent = ImprintAttack(bins=64).broadcast(mnist_view, model)
    found = faults(model, sent)
    assert any("0.rows.weight that was not agreed on" in text for text in found)
    assert any("100% of the rows of 0.rows.weight have the direction of another row" in text for text in found)
    # The layer may have been agreed on; its rows still say what it is for.
    agreed = nn.Sequential(Imprint(784, torch.linspace(0, 1, 64)), model)
    torch.nn.init.normal_(agreed[0].rows.weight)
    assert {text.partition("of the rows")[1] for text in faults(agreed, sent)} == {"of the rows"}


@pytest.mark.parametrize("name", ["lenet", "lenet_bn", "dlg_lenet", "mlp"])
def test_honest_models_have_no_faults_untrained_and_trained(name, mnist):
    agreed, model = build(name, mnist.input, 10), build(name, mnist.input, 10, seed=1)
    assert faults(agreed, model) == []
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    inputs, labels = torch.from_numpy(mnist.train.inputs[:64]), torch.from_numpy(mnist.train.labels[:64])
    for _ in range(10):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    assert faults(agreed, model) == []


def test_other_faults_of_structure_are_named():
    agreed = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    assert faults(agreed, nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)))[0] == (
        "The parameter 0.weight has the shape (5, 4), and (4, 4) was agreed on."
    )
    assert "lacks the parameter 2.bias" in " ".join(
        faults(agreed, nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2, bias=False)))
    )
    assert faults(agreed, nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))) == [
        "The model has the parameters that were agreed on, and other layers."
    ]
    # Rows of zeros, as of a pruned layer, say nothing.
    assert repeated_rows({"pruned": torch.zeros(8, 4)}) == []
