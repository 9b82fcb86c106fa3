import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from cutlayer.defenses.bido import BiDO
from cutlayer.defenses.shared.aware import smashed_of
from cutlayer.defenses.shared.dependence import gaussian_kernel, hsic, label_kernel
from cutlayer.models.graph import layer_outputs
from tests.defenses.victims import accuracy, shades, small_split


def test_it_lowers_the_dependence_on_the_input_and_keeps_the_accuracy():
    data, halves = shades(1000), small_split(3)
    kernels = []
    for weight in (1e-6, 0.1):
        hardened = BiDO(weight_x=weight, weight_y=0.0, layers="cut", epochs=6).harden(halves, data, seed=0)
        kernels.append(gaussian_kernel(torch.from_numpy(smashed_of(hardened, data.test, 250))))
        assert accuracy(hardened, BiDO().protect, data) > 0.95
    inputs = gaussian_kernel(torch.from_numpy(data.test.inputs[:250]))
    assert float(hsic(kernels[1], inputs)) < 0.9 * float(hsic(kernels[0], inputs))


def test_the_loss_is_that_of_the_equation(monkeypatch):
    data, halves = shades(64), small_split()
    images, labels = torch.from_numpy(data.train.inputs), torch.from_numpy(data.train.labels)

    def loss_of(defense):
        passed = {}
        monkeypatch.setattr("cutlayer.training.optimize", lambda modules, data, loss, **rest: passed.update(loss=loss))
        defense.harden(halves, data, seed=0)
        with torch.no_grad():
            return float(passed["loss"](images, labels, np.random.default_rng(0)))

    with torch.no_grad():
        smashed = halves.head(images)
        plain = float(cross_entropy(halves.tail(smashed), labels))
        layers = [gaussian_kernel(halves.head.get_submodule("0")(images)), gaussian_kernel(smashed)]
        on_input = [float(hsic(layer, gaussian_kernel(images))) for layer in layers]
        on_label = [float(hsic(layer, label_kernel(labels))) for layer in layers]
    assert loss_of(BiDO(weight_x=0.1, weight_y=0.0, layers="cut")) == pytest.approx(plain + 0.1 * on_input[1], rel=1e-3)
    assert loss_of(BiDO(weight_x=0.0, weight_y=2.0, layers="cut")) == pytest.approx(plain - 2 * on_label[1], rel=1e-3)
    assert loss_of(BiDO(weight_x=0.1, weight_y=2.0)) == pytest.approx(
        plain + 0.1 * sum(on_input) - 2 * sum(on_label), rel=1e-3
    )


def test_hidden_layers_are_the_convolutions_and_the_linear_layers():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 5))
    with layer_outputs(model) as collected:
        logits = model(torch.zeros(3, 1, 4, 4))
    assert [tuple(output.shape) for _, output in collected] == [(3, 2, 2, 2), (3, 5)]
    assert collected[1][0] is model[4]
    assert collected[1][1] is logits
    model(torch.zeros(3, 1, 4, 4))
    assert len(collected) == 2
