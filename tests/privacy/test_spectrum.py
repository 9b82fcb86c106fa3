from dataclasses import astuple

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.models.cuts import cuts
from cutlayer.models.halves import split
from cutlayer.models.zoo import build
from cutlayer.privacy import spectrum as module
from cutlayer.privacy.spectrum import directions, ill_conditioned, singular_values, spectrum
from cutlayer.records.run import Passed
from cutlayer.spec import image_spec
from tests.attacks.victims import smooth_images

IMAGES = np.random.default_rng(0).random((100, 1, 6, 6), dtype=np.float32)


def linear(values):
    """A head whose Jacobian has these singular values."""
    head = nn.Sequential(nn.Flatten(), nn.Linear(36, 36))
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(36, 36, generator=generator))[0] for _ in range(2))
    head[1].weight.data = left * torch.as_tensor(values, dtype=torch.float32) @ right
    return head.eval()


def test_a_linear_head_has_its_own_singular_values():
    values = np.logspace(0, -3, 36)
    measured = singular_values(linear(values), torch.from_numpy(IMAGES[:2]), directions(IMAGES)[0])
    np.testing.assert_allclose(measured, np.stack([values, values]), rtol=1e-3)


def test_faint_is_told_from_gone():
    faint, half = np.logspace(0, -4, 36), np.where(np.arange(36) < 18, 1.0, 0.0)
    record = spectrum(linear(faint), IMAGES, linear(np.ones(36)))
    assert astuple(record.head) == pytest.approx((36, 1e4, 1), rel=0.01)
    assert record.undefended.condition == pytest.approx(1, rel=1e-3)
    assert ill_conditioned(record)
    record = spectrum(linear(half), IMAGES, linear(np.ones(36)))
    assert astuple(record.head) == pytest.approx((18, 1, 1), rel=1e-3)
    assert not ill_conditioned(record)


def test_a_head_that_tells_nothing_passes_nothing_on():
    assert spectrum(linear(np.zeros(36)), IMAGES, linear(np.ones(36))).head == Passed(0, 1, 0)


def test_only_directions_that_occur_in_the_images_count():
    """They are made from 3x3 pixels, so that 9 directions are all there is."""
    basis, share = directions(smooth_images(60, seed=0).numpy())
    assert basis.shape == (9, 1, 6, 6)
    assert share == pytest.approx(1)
    flat = basis.flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(9, dtype=torch.float64))


def test_fewer_images_than_pixels_give_the_same_directions(monkeypatch):
    images = smooth_images(60, seed=0).numpy()
    many = directions(images)[0].flatten(1)
    few = directions(images[:30])[0].flatten(1)
    torch.testing.assert_close(many.T @ many, few.T @ few, atol=1e-4, rtol=0)
    monkeypatch.setattr(module, "DIRECTIONS", 4)
    basis, share = directions(images)
    assert len(basis) == 4
    assert 0.3 < share < 1


def test_what_the_defense_left_alone_is_measured_once(monkeypatch):
    asked, original = [], singular_values
    monkeypatch.setattr(module, "singular_values", lambda *args: asked.append(1) or original(*args))
    head = linear(np.ones(36))
    record = spectrum(head, IMAGES, head)
    assert record.head == record.undefended
    assert len(asked) == 1


@pytest.mark.parametrize("model", ["resnet20", "mobilenet_v3_small"])
def test_a_networks_head_has_a_jacobian_and_stays_as_it_is(model, monkeypatch):
    monkeypatch.setattr(module, "POINTS", 1)
    monkeypatch.setattr(module, "DIRECTIONS", 2)
    monkeypatch.setattr(module, "VALUES", 0)
    input = image_spec(3, 32, 32)
    network = build(model, input, 10)
    places = cuts(network, input)
    head = split(network, places[len(places) // 2].name, input).head
    passed = spectrum(head, smooth_images(8, seed=0, shape=(3, 32, 32)).numpy(), head).head
    assert passed.passed >= 1
    assert np.isfinite(passed.largest)
    assert next(head.parameters()).dtype == torch.float32, "the head itself was changed"
