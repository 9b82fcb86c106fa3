"""What the defenses that act in training do."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from cutlayer.data.splits import Dataset
from cutlayer.defenses.answers.class_dp import ClassDP
from cutlayer.defenses.answers.label_smoothing import LabelSmoothing, ramp
from cutlayer.defenses.answers.last_layer_mid import LastLayerMid
from cutlayer.defenses.answers.low_rank_header import LowRankHeader
from cutlayer.defenses.answers.random_erasing import erased
from cutlayer.defenses.answers.sparse_coding import SparseCoding
from cutlayer.defenses.answers.tl_dmi import TlDmi
from cutlayer.defenses.answers.trap_mid import TrapMid, blended
from cutlayer.defenses.shared.dependence import coco, gaussian_kernel, label_kernel
from cutlayer.errors import ConfigError, SplitError
from cutlayer.models.cuts import cuts
from cutlayer.models.export import export_onnx
from cutlayer.models.zoo import build
from cutlayer.spec import image_spec
from cutlayer.training import accuracy

INPUT, CLASSES = image_spec(1, 8, 8), 4


def stripes(n=256, seed=0, of=range(CLASSES)):
    """Noise with a bright stripe that says the class."""
    rng = np.random.default_rng(seed)
    labels = np.asarray(of)[np.arange(n) % len(of)]
    inputs = rng.random((n, *INPUT.shape)).astype(np.float32) * 0.3
    for row, label in enumerate(labels):
        inputs[row, :, 2 * (label % 4) : 2 * (label % 4) + 2] += 0.5
    return Dataset(inputs, labels)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 16), nn.ReLU(),
        nn.Linear(16, CLASSES),
    )  # fmt: skip


def trained(defense, data, epochs=10, model=None, public=None):
    model = defense.rebuilt(network() if model is None else model, INPUT, CLASSES, 0)
    defense.train(model, data, public or stripes(64, 1), epochs=epochs, seed=0, lr=8e-3)
    return model.eval()


def loss_in(defense, model, monkeypatch, n=256):
    """The loss that a defense gives to `optimize`, without the training."""
    passed = {}
    monkeypatch.setattr("cutlayer.training.optimize", lambda modules, data, loss, **rest: passed.update(loss=loss))
    defense.train(model, stripes(n), stripes(64, 1), epochs=1, seed=0)
    return passed["loss"]


def test_label_smoothing_is_that_of_torch_where_it_is_positive(monkeypatch):
    model, data = network(), stripes(64)
    images, labels = torch.from_numpy(data.inputs), torch.from_numpy(data.labels)
    value = loss_in(LabelSmoothing(alpha=0.2), model, monkeypatch)(images, labels, None)
    assert value.item() == pytest.approx(cross_entropy(model(images), labels, label_smoothing=0.2).item(), rel=1e-5)


def test_a_negative_share_comes_with_the_second_half(monkeypatch):
    assert [ramp(done) for done in (0, 0.5, 0.625, 0.75, 1)] == [0, 0, 0.5, 1, 1]
    model, data = network(), stripes(64)
    images, labels = torch.from_numpy(data.inputs), torch.from_numpy(data.labels)
    loss = loss_in(LabelSmoothing(alpha=-0.5), model, monkeypatch)  # 4 steps
    values = [loss(images, labels, None).item() for _ in range(4)]
    logs = model(images).log_softmax(1)
    plain, even = cross_entropy(model(images), labels).item(), -logs.mean().item()
    assert values == pytest.approx([plain, plain, plain, 1.5 * plain - 0.5 * even], rel=1e-5)


def test_a_negative_share_does_not_diverge():
    data = stripes()
    model = trained(LabelSmoothing(alpha=-1.0), data, epochs=30)
    logits = model(torch.from_numpy(data.inputs))
    assert torch.isfinite(logits).all()
    # Beyond the bound there is no gain in greater logits.
    assert -logits.log_softmax(1).mean().item() < 3 * LabelSmoothing().most
    assert accuracy(model, data)[0] > 0.9 * len(data)


def test_each_image_has_one_erased_rectangle_of_the_stated_size():
    images, color = torch.ones(500, 2, 20, 30), torch.tensor([0.25, 0.5])[:, None, None]
    changed = erased(images, color, 0.4, np.random.default_rng(0))
    gone = changed[:, 0] == 0.25
    assert torch.equal(gone, changed[:, 1] == 0.5)
    assert torch.equal(changed[:, 0][~gone], torch.ones(int((~gone).sum())))
    shares = gone.flatten(1).float().mean(1)
    assert 0.08 < shares.min() < 0.13
    assert 0.37 < shares.max() < 0.43
    tall, wide = gone.any(2).sum(1), gone.any(1).sum(1)
    assert torch.equal(tall * wide, gone.flatten(1).sum(1))
    assert gone.any(0).all()  # everywhere
    assert torch.equal(images, torch.ones_like(images))


def test_frozen_layers_know_nothing_of_the_private_samples():
    public = stripes(64, 1, of=(7, 9))
    one, other = (trained(TlDmi(frozen=1), stripes(128, seed), public=public) for seed in (2, 3))
    assert torch.equal(one[0].weight, other[0].weight)
    assert not torch.equal(one[0].weight, network()[0].weight)
    assert not torch.equal(one[3].weight, other[3].weight)
    assert all(parameter.requires_grad for parameter in one.parameters())
    assert one[5].out_features == CLASSES
    with pytest.raises(ConfigError, match="no layer"):
        trained(TlDmi(frozen=3), stripes())
    with pytest.raises(ConfigError, match="two classes"):
        trained(TlDmi(frozen=1), stripes(), public=stripes(64, 1, of=(7,)))


def test_statistics_of_frozen_layers_are_those_of_the_public_samples():
    def normalized():
        model = build("lenet_bn", INPUT, CLASSES, seed=0)
        return model

    public = stripes(64, 1, of=(7, 9))
    one, other = (
        trained(TlDmi(frozen=1), stripes(128, seed), epochs=2, model=normalized(), public=public) for seed in (2, 3)
    )
    means = [(dict(model.named_buffers())) for model in (one, other)]
    first = [name for name in means[0] if "bn1" in name and "mean" in name]
    second = [name for name in means[0] if "bn2" in name and "mean" in name]
    assert torch.equal(means[0][first[0]], means[1][first[0]])
    assert not torch.equal(means[0][second[0]], means[1][second[0]])


@pytest.mark.parametrize("unit", ["class", "record"])
def test_gradients_of_units_are_clipped_and_noise_is_added(unit, monkeypatch):
    model, data, bound = network(), stripes(32), 0.01
    images, labels = torch.from_numpy(data.inputs), torch.from_numpy(data.labels)

    def gradient(noise):
        defense = ClassDP(noise=noise, bound=bound, unit=unit)
        value = loss_in(defense, model, monkeypatch)(images, labels, np.random.default_rng(0))
        return torch.cat([part.flatten() for part in torch.autograd.grad(value, [*model.parameters()])])

    wanted = 0
    for members in [labels == k for k in range(CLASSES)] if unit == "class" else torch.eye(32, dtype=torch.bool):
        part = torch.autograd.grad(cross_entropy(model(images[members]), labels[members]), [*model.parameters()])
        flat = torch.cat([g.flatten() for g in part])
        assert flat.norm() > bound
        wanted = wanted + bound * flat / flat.norm()
    torch.testing.assert_close(gradient(1e-9), wanted, rtol=1e-3, atol=1e-6)
    added = gradient(3.0) - wanted
    assert float(added.std()) == pytest.approx(3.0 * bound, rel=0.1)


def test_epsilon_of_a_class_is_greater_than_that_of_a_record():
    of_class, of_record = (
        ClassDP(noise=1.0, batch=64, unit=unit).epsilon(6400, 5, 1e-5) for unit in ("class", "record")
    )
    assert of_class > 20 * of_record
    assert ClassDP(noise=0.0).epsilon(640, 5, 1e-5) == math.inf
    with pytest.raises(ConfigError, match="batch normalization"):
        trained(ClassDP(), stripes(), model=nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten()))


def test_triggers_trap_and_are_faint():
    data, defense = stripes(), TrapMid(weight=0.5, alpha=0.2)
    model = trained(defense, data, epochs=25)
    assert accuracy(model, data)[0] > 0.9 * len(data)
    assert defense.triggers.shape == (CLASSES, *INPUT.shape)
    assert defense.triggers.min() >= 0
    assert defense.triggers.max() <= 1
    images = torch.from_numpy(data.inputs)

    def caught(triggers):
        return sum(
            int((model(blended(images, torch.from_numpy(triggers)[k], 0.2)).argmax(1) == k).sum())
            for k in range(CLASSES)
        ) / (CLASSES * len(data))

    random = np.random.default_rng(0).random(defense.triggers.shape).astype(np.float32)
    assert caught(defense.triggers) > 0.7
    assert caught(random) < 0.5


def test_a_low_rank_header_is_trained_to_its_confidence():
    data = stripes()
    model = trained(LowRankHeader(rank=2, confidence=0.8), data, epochs=30)
    assert model[5][0].out_features == 2
    sure = model(torch.from_numpy(data.inputs)).softmax(1).detach()[np.arange(len(data)), data.labels]
    assert 0.7 < float(sure.median()) < 0.9
    assert 2 * accuracy(model, data)[0] > len(data)


def test_mid_draws_each_answer_and_a_greater_weight_makes_it_say_less():
    data = stripes()
    images, labels = torch.from_numpy(data.inputs), torch.from_numpy(data.labels)
    models = [trained(LastLayerMid(beta=beta), data, epochs=20) for beta in (1e-4, 1.0)]
    with torch.no_grad():
        assert not torch.equal(models[0](images), models[0](images))
        told = [
            float(model.training_loss(images, labels) - cross_entropy(model(images), labels)) / model.beta
            for model in models
        ]
    assert told[1] < 0.3 * told[0]
    # The mean of many answers is what the adaptive attacker uses: it is nearer to that of another many.
    with torch.no_grad():
        few, many = ([torch.stack([models[1](images) for _ in range(n)]).mean(0) for _ in range(2)] for n in (1, 64))
    assert (many[0] - many[1]).norm() < 0.25 * (few[0] - few[1]).norm()


def test_a_code_is_sparse_and_explains_the_image():
    model = nn.Sequential(nn.Conv2d(1, 16, 5, stride=2, padding=1), nn.Flatten(), nn.Linear(16 * 9, CLASSES))
    images = torch.from_numpy(stripes(8).inputs)
    objective, kept = {}, {}
    for steps in (1, 50):
        coded = SparseCoding(threshold=0.05, steps=steps).rebuilt(network_of(model), INPUT, CLASSES, 0)[0]
        with torch.no_grad():
            coded.bias.zero_()
            code = coded(images)
            image = coded._image(code, coded._dictionary())
        assert image.shape == images.shape
        objective[steps] = float(((images - image) ** 2).sum() / 2 + 0.05 * code.abs().sum())
        kept[steps] = float((code != 0).float().mean())
    assert objective[50] < 0.9 * objective[1]
    assert kept[50] < 0.9
    with torch.no_grad():
        nothing = SparseCoding(threshold=1e3).rebuilt(network_of(model), INPUT, CLASSES, 0)[0]
        nothing.bias.zero_()
        assert not nothing(images).any()
    with pytest.raises(ConfigError, match="convolution"):
        SparseCoding().rebuilt(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), INPUT, CLASSES, 0)


def network_of(model):
    import copy

    return copy.deepcopy(model)


def test_a_rebuilt_network_is_cut_and_exported(tmp_path):
    model = SparseCoding(steps=2).rebuilt(network(), INPUT, CLASSES, 0)
    model = LowRankHeader().rebuilt(model, INPUT, CLASSES, 0)
    assert len(cuts(model, INPUT)) > 5
    export_onnx(model, INPUT, tmp_path / "model.onnx", "image", "logits")


def test_a_network_that_draws_is_cut_and_not_exported(tmp_path):
    model = LastLayerMid().rebuilt(network(), INPUT, CLASSES, 0)
    assert len(cuts(model, INPUT)) > 5
    with pytest.raises(SplitError):
        export_onnx(model, INPUT, tmp_path / "model.onnx", "image", "logits")


def test_constrained_covariance_tells_dependence_and_bounds_that_of_the_definition():
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 4
    of_class = torch.randn(4, 16, generator=rng)[labels] + 0.1 * torch.randn(64, 16, generator=rng)
    noise = torch.randn(64, 16, generator=rng)
    kernels = [gaussian_kernel(of_class, 1.0), gaussian_kernel(noise, 1.0)]
    values = [float(coco(kernel, label_kernel(labels))) for kernel in kernels]
    assert values[0] > 1.5 * values[1] > 0
    center = torch.eye(64) - 1 / 64
    product = center @ kernels[0] @ center @ center @ label_kernel(labels) @ center
    greatest = float(torch.linalg.matrix_norm(product, 2)) ** 0.5 / 64
    assert greatest <= values[0] * (1 + 1e-5)
    assert values[0] == pytest.approx(float(product.norm()) ** 0.5 / 64, rel=1e-4)
