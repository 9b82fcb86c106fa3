"""DCS2 and Refiner: samples of nearly the same gradient, the projection, and what an attacker reads all the same."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cutlayer.attacks.gradients.client import gradients, observed
from cutlayer.attacks.gradients.matching import Matching
from cutlayer.attacks.gradients.view import UpdateView
from cutlayer.data.splits import Dataset
from cutlayer.defenses.updates.base import Local
from cutlayer.defenses.updates.concealed import DEVIATION
from cutlayer.defenses.updates.dcs2 import Dcs2
from cutlayer.defenses.updates.refiner import Refiner
from cutlayer.errors import ConfigError
from cutlayer.spec import image_spec
from tests.defenses.updates.solves import psnr

LABELS = torch.tensor([1, 2])


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def flat(update: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten() for value in update.values()])


@pytest.fixture(scope="module")
def local() -> Local:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    return Local(model, torch.rand(2, 1, 8, 8), LABELS)


def test_what_is_added_is_far_in_pixels_and_near_in_gradient(local):
    inputs, shares = Dcs2(steps=200, enough=12.0).augment(local.inputs, LABELS, rng(), local)
    assert torch.equal(inputs[:2], local.inputs)
    assert ((inputs[2:] - local.inputs) / DEVIATION).flatten(1).norm(dim=1).mean() > 11
    own, added = (flat(gradients(local.model, inputs[part], shares[part])) for part in (slice(0, 2), slice(2, 4)))
    start = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    noise = flat(gradients(local.model, start, shares[2:]))
    cosine = nn.CosineSimilarity(dim=0)
    assert cosine(own, added) > cosine(own, noise) + 0.1
    assert torch.equal(shares[:2].argmax(1), LABELS)
    assert torch.allclose(shares.sum(1), torch.ones(4))
    assert torch.allclose(shares[2:].gather(1, LABELS[:, None]), torch.tensor(0.3))


def test_an_update_that_turned_is_moved_back_by_the_least_that_does_it(local):
    own, defense = gradients(local.model, local.inputs, LABELS), Dcs2(steps=1)
    across = {name: torch.randn(g.shape, generator=torch.Generator().manual_seed(2)) for name, g in own.items()}
    across = {
        name: a - float(flat(across) @ flat(own) / flat(own).square().sum()) * own[name] for name, a in across.items()
    }
    for turned, expected in ((-3.0, 0.0), (-0.1, 0.4)):
        sent = defense.protect_update({n: turned * own[n] + across[n] for n in own}, rng(), {}, local)
        length = float(flat(sent) @ flat(own) / flat(own).square().sum())
        assert length == pytest.approx(expected, abs=1e-4)
        moved = {name: value - across[name] for name, value in sent.items()}
        assert float(flat(moved).norm()) == pytest.approx(abs(expected) * float(flat(own).norm()), abs=1e-3)
    # What stays with the client is left out, and the rest is moved back.
    name = next(iter(own))
    part = Dcs2(steps=1).protect_update({name: -own[name]}, rng(), {}, local)
    assert part.keys() == {name}
    assert float((part[name] * own[name]).sum()) >= -1e-6
    delta = Dcs2(steps=1).protect_update({n: -g for n, g in own.items()}, rng(), {}, local._replace(local_steps=1))
    assert all(torch.equal(delta[name], -g) for name, g in own.items())
    with pytest.raises(ConfigError, match="was given an update alone"):
        defense.protect_update(own, rng(), {})


def test_dcs2_leaves_the_original_in_units_that_it_alone_turns_on(local):
    """The candidates of the first layer's ratio hold the sample, since it is one of the two in the batch."""
    made = observed(local.model, local.inputs[:1], LABELS[:1], Dcs2(steps=200, enough=12.0), rng())
    weight, bias = (made.observation.update[name] for name in ("1.weight", "1.bias"))
    candidates = weight[bias.abs() > 1e-6] / bias[bias.abs() > 1e-6, None]
    assert max(psnr(each, local.inputs[:1]) for each in candidates) > 80


def test_refiner_gives_away_the_samples_it_trained_on_and_not_the_own_ones(local):
    made = observed(local.model, local.inputs[:1], LABELS[:1], Refiner(steps=200, enough=12.0), rng())
    weight, bias = (made.observation.update[name] for name in ("1.weight", "1.bias"))
    found = weight[bias.abs().argmax()] / bias[bias.abs().argmax()]
    assert psnr(found, made.inputs) > 80
    assert psnr(found, local.inputs[:1]) < 10
    own = flat(gradients(local.model, local.inputs[:1], LABELS[:1]))
    assert nn.CosineSimilarity(dim=0)(flat(dict(made.observation.update)), own) > 0.3


def test_an_attacker_who_knows_dcs2_still_matches_updates(local):
    """Without a map, the attacks that know the defense would all be refused, and the defense seem to withstand them."""
    made = observed(local.model, local.inputs, local.labels, Dcs2(steps=2), rng()).observation
    own = Dataset(local.inputs.numpy(), local.labels.numpy())
    view = UpdateView(input=image_spec(1, 8, 8), classes=4, auxiliary=own, _defense=Dcs2(steps=2))
    (found,) = Matching(iterations=2).invert(view, [made])
    assert found.inputs.shape == local.inputs.shape
