"""What the gradient of the last layer tells of the labels."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cutlayer.attacks.gradients.client import observed
from cutlayer.attacks.gradients.labels import LABELS, counts_by_class, of_each
from cutlayer.attacks.gradients.update import as_gradient
from cutlayer.attacks.gradients.view import Observation, UpdateView
from cutlayer.data.splits import Dataset
from cutlayer.defenses.updates.clip import Clip
from cutlayer.defenses.updates.none import Unprotected
from cutlayer.errors import ConfigError, DataError, WithheldError
from cutlayer.models.zoo import build
from cutlayer.spec import TensorSpec

INPUT = TensorSpec((6,), "float32", 0.0, 1.0)
CLASSES = 5


@pytest.fixture(scope="module")
def view() -> UpdateView:
    rng = np.random.default_rng(0)
    labels = (np.arange(60) % CLASSES).astype(np.int64)
    inputs = (rng.random((60, 6)) * 0.6 + np.eye(6)[labels] * 0.4).astype(np.float32)
    return UpdateView(input=INPUT, classes=CLASSES, auxiliary=Dataset(inputs, labels))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, CLASSES))


def made(model: nn.Module, view: UpdateView, labels: list[int], **how: float) -> Observation:
    """The update of samples with these labels, from the attacker's own distribution."""
    found = [int(np.flatnonzero(view.auxiliary.labels == c)[k]) for k, c in enumerate(labels)]
    inputs = torch.from_numpy(view.auxiliary.inputs[found])
    return observed(model, inputs, torch.tensor(labels), Unprotected(), np.random.default_rng(0), **how).observation


def listed(labels: Tensor) -> list[int]:
    return labels.tolist()


@pytest.mark.parametrize("name", ["idlg", "negative", "yin", "wainakh", "counts", "counts-by-class", "evolutionary"])
def test_the_label_of_one_sample_is_found(name, model, view):
    for c in range(CLASSES):
        assert listed(LABELS[name](made(model, view, [c]), view)) == [c]


@pytest.mark.parametrize("name", ["negative", "yin"])
def test_labels_that_occur_once_are_found(name, model, view):
    assert listed(LABELS[name](made(model, view, [4, 0, 3]), view)) == [0, 3, 4]


def test_wainakh_takes_the_impact_of_one_sample_from_a_row_again_and_again(model, view):
    # The impact that the gradient tells is rough; a class that dominates is found whatever the others do.
    assert listed(LABELS["wainakh"](made(model, view, [2, 2, 2, 2]), view)) == [2, 2, 2, 2]


@pytest.mark.parametrize("name", ["counts", "counts-by-class", "evolutionary"])
def test_labels_that_occur_several_times_are_found(name, model, view):
    found = LABELS[name](made(model, view, [1, 3, 3, 1, 3]), view)
    assert found.dtype == torch.int64
    assert listed(found) == [1, 1, 3, 3, 3]


@pytest.mark.parametrize("name", ["counts", "counts-by-class"])
@pytest.mark.parametrize("labels", [[4], [1, 3, 3, 1, 3]])
def test_labels_are_found_in_an_update_whose_scale_clipping_hides(name, labels, model, view):
    clip = Clip(bound=0.01)
    whole = made(model, view, labels)
    clipped = replace(whole, update=clip.protect_update(whole.update, np.random.default_rng(0), {}))
    assert listed(LABELS[name](clipped, replace(view, _defense=clip))) == sorted(labels)


def test_a_model_without_bias_and_an_attacker_without_samples(model, view):
    bare = nn.Sequential(model[0], model[1], nn.Linear(16, CLASSES, bias=False))
    nothing = replace(view, auxiliary=view.auxiliary.take(0))
    assert listed(LABELS["counts-without-bias"](made(bare, view, [2, 2, 2, 0]), nothing)) == [0, 2, 2, 2]
    assert listed(LABELS["counts"](made(model, view, [2, 2, 2, 0]), nothing)) == [0, 2, 2, 2]
    with pytest.raises(ConfigError, match="take counts-without-bias"):
        LABELS["counts"](made(bare, view, [2]), view)


def test_a_trained_model_is_read_with_the_softmax_of_each_class(model, view):
    torch.manual_seed(1)
    trained = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, CLASSES))
    optimizer = torch.optim.Adam(trained.parameters(), 0.02)
    inputs, labels = map(torch.from_numpy, (view.auxiliary.inputs, view.auxiliary.labels))
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(trained(inputs), labels).backward()
        optimizer.step()
    right = {}
    for name in ("counts", "counts-by-class"):
        found = [(c, listed(LABELS[name](made(trained, view, [c] * 6), view))) for c in range(CLASSES)]
        right[name] = sum(labels.count(c) for c, labels in found) / (6 * CLASSES)
    assert right["counts-by-class"] > right["counts"] + 0.1


def test_what_is_kept_of_a_model_goes_with_its_weights(view):
    torch.manual_seed(2)
    changing = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, CLASSES))
    first = counts_by_class(made(changing, view, [1, 2, 3]), view)
    with torch.no_grad():
        changing[2].bias += 4 * torch.tensor([1.0, 0, 0, 0, -1])
    observation = made(changing, view, [1, 2, 3])
    after = counts_by_class(observation, view)
    afresh = counts_by_class(replace(observation, _model=copy.deepcopy(changing)), view)
    assert torch.equal(after, afresh)
    assert listed(first) == [1, 2, 3]


def test_local_steps_of_sgd_become_a_gradient(model, view):
    labels = [1, 1, 4, 0]
    exact, steps = made(model, view, labels), made(model, view, labels, local_steps=3, lr=1e-3)
    assert listed(LABELS["counts"](steps, view)) == sorted(labels)
    for name, gradient in as_gradient(steps).items():
        torch.testing.assert_close(gradient, exact.update[name], rtol=0.05, atol=1e-2)
    (one,) = [made(model, view, labels, local_steps=1, lr=0.5)]
    torch.testing.assert_close(as_gradient(one)["0.weight"], exact.update["0.weight"], rtol=1e-4, atol=1e-6)
    with pytest.raises(ConfigError, match="which must be above 0"):
        as_gradient(replace(one, lr=0.0))


def test_steps_of_adam_leave_the_signs_and_say_so(model, view, caplog):
    exact = made(model, view, [3])
    adam = replace(exact, local_steps=1, lr=1e-3, optimizer="adam",
                   update={name: -1e-3 * g.sign() for name, g in exact.update.items()})  # fmt: skip
    for name, sign in as_gradient(adam).items():
        assert torch.equal(sign, exact.update[name].sign())
    assert listed(LABELS["idlg"](adam, view)) == [3]
    with pytest.raises(ConfigError, match=r"counts needs the size of the gradient, and steps of adam hide it"):
        LABELS["counts"](adam, view)


def test_what_cannot_be_done_is_refused(model, view):
    many = made(model, view, [0, 1, 2, 3, 4, 0])
    for name in ("negative", "yin"):
        with pytest.raises(ConfigError, match=rf"{name} finds each class at most once.*at most 5 samples.*from 6"):
            LABELS[name](many, view)
    with pytest.raises(ConfigError, match="idlg finds the label of one sample"):
        LABELS["idlg"](many, view)
    with pytest.raises(DataError, match=r"NaN or infinity in 2\.bias"):
        LABELS["counts"](replace(many, update={**many.update, "2.bias": many.update["2.bias"] / 0}), view)
    with pytest.raises(ConfigError, match="last layer with 3 rows; there is none"):
        LABELS["counts"](many, replace(view, classes=3))


def test_known_labels_are_those_of_the_one_update(model, view):
    observations = [made(model, view, [3, 1]), made(model, view, [2])]
    with pytest.raises(WithheldError, match="labels"):
        LABELS["known"](observations[0], view)
    granted = replace(view, _labels=(torch.tensor([3, 1]), torch.tensor([2])))
    found = [listed(LABELS["known"](o, one)) for one, o in of_each(granted, observations)]
    assert found == [[1, 3], [2]]
    with pytest.raises(ConfigError, match="of this one update"):
        LABELS["known"](observations[0], granted)
    with pytest.raises(ConfigError, match="labels of 2 updates, and there are 1"):
        list(of_each(granted, observations[:1]))


@pytest.mark.parametrize("samples", [8, 32, 128])
def test_a14_counts_are_exact_on_an_untrained_model(samples, mnist, mnist_view):
    model = build("lenet", mnist.input, 10)
    for k in range(3):
        part = mnist.private.at(np.s_[k * samples : (k + 1) * samples])
        inputs, labels = torch.from_numpy(part.inputs), torch.from_numpy(part.labels)
        observation = observed(model, inputs, labels, Unprotected(), np.random.default_rng(0)).observation
        assert torch.equal(LABELS["counts"](observation, mnist_view), labels.sort().values)
