import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.attacks.gradients.client import gradients, observed
from cutlayer.attacks.gradients.floors import FLOORS, sample_gradients
from cutlayer.attacks.gradients.view import UpdateView
from cutlayer.data.splits import Dataset
from cutlayer.defenses.updates.none import Unprotected
from cutlayer.spec import image_spec


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 36, 4))


@pytest.fixture(scope="module")
def view():
    rng = np.random.default_rng(0)
    auxiliary = Dataset(rng.random((20, 1, 8, 8), np.float32), np.arange(20) % 4)
    return UpdateView(input=image_spec(1, 8, 8), classes=4, auxiliary=auxiliary)


def made(model, inputs, labels, **how):
    return observed(
        model, torch.as_tensor(inputs), torch.as_tensor(labels), Unprotected(), np.random.default_rng(), **how
    )


def test_the_gradients_of_samples_are_those_of_batches_of_one(model, view):
    inputs, labels = torch.from_numpy(view.auxiliary.inputs[:3]), torch.from_numpy(view.auxiliary.labels[:3])
    for k, row in enumerate(sample_gradients(model, inputs, labels)):
        alone = gradients(model, inputs[k : k + 1], labels[k : k + 1])
        assert torch.allclose(row, torch.cat([g.flatten() for g in alone.values()]), atol=1e-6)


@pytest.mark.parametrize("how", [{}, {"local_steps": 2, "lr": 0.01}])
def test_the_nearest_gradient_is_that_of_the_sample_where_the_attacker_holds_it(model, view, how):
    """The same holds for updates of two models, and for a change of weights, which points against the gradient."""
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    auxiliary = view.auxiliary
    updates = [
        made(m, auxiliary.inputs[k : k + 1], auxiliary.labels[k : k + 1], **how)
        for m, k in ((model, 7), (other, 3), (model, 12))
    ]
    found = FLOORS["nearest gradient"](view, updates)
    for recovered, k in zip(found, (7, 3, 12), strict=True):
        assert np.array_equal(recovered.inputs[0].numpy(), auxiliary.inputs[k])
        assert recovered.labels.tolist() == [auxiliary.labels[k]]


def test_means_are_those_of_the_attacker_and_of_the_batch(model, view):
    batch = made(model, view.auxiliary.inputs[:2], view.auxiliary.labels[:2])
    (mean,), (truth,) = FLOORS["mean sample"](view, [batch]), FLOORS["batch mean"](view, [batch])
    assert mean.inputs.shape == truth.inputs.shape == (2, 1, 8, 8)
    assert np.allclose(mean.inputs[1], view.auxiliary.inputs.mean(0))
    assert np.allclose(truth.inputs[1], view.auxiliary.inputs[:2].mean(0))


def test_more_samples_than_the_attacker_holds(model, view):
    rng = np.random.default_rng(1)
    batch = made(model, rng.random((24, 1, 8, 8), np.float32), np.arange(24) % 4)
    assert len(FLOORS["nearest gradient"](view, [batch])[0].inputs) == 24
