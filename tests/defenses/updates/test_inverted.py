"""What is left of each map's protection when the attacker applies the same map (A18, A19)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cutlayer.attacks.gradients.client import gradients, observed
from cutlayer.attacks.gradients.view import UpdateView
from cutlayer.data.digits import load
from cutlayer.data.load import data_root
from cutlayer.data.mnist import load_mnist
from cutlayer.defenses.updates.base import Local, Twin
from cutlayer.models import zoo
from cutlayer.registry import UPDATE_ATTACKS, UPDATE_DEFENSES
from tests.defenses.updates.test_contract import rng

SIDE = 8


class Victim(NamedTuple):
    """A sigmoid network as that of Deep Leakage from Gradients, for small digits, and one of them."""

    model: nn.Module
    digit: Tensor
    label: Tensor


@pytest.fixture(scope="module")
def victim() -> Victim:
    private = load(None, 0).private
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        first, second = nn.Conv2d(1, 12, 5, padding=2, stride=2), nn.Conv2d(12, 12, 5, padding=2)
        layers = [first, nn.Sigmoid(), second, nn.Sigmoid(), nn.Flatten(), nn.Linear(12 * (SIDE // 2) ** 2, 10)]
        model = nn.Sequential(*layers)
        for p in model.parameters():
            nn.init.uniform_(p, -0.5, 0.5)
    return Victim(model, torch.from_numpy(private.inputs[:1]), torch.from_numpy(private.labels[:1]))


def sent_by(victim: Victim, name: str, **options: Any) -> tuple[dict[str, Tensor], Twin]:
    """The protected gradient, and the map as an attacker reads it from there."""
    defense = UPDATE_DEFENSES.make(name, **options)
    update = gradients(victim.model, victim.digit, victim.label)
    local = Local(victim.model, victim.digit, victim.label)
    sent = {key: value.detach() for key, value in defense.protect_update(update, rng(), {}, local).items()}
    twin = defense.twin(sent, rng(1))
    assert twin is not None
    return sent, twin


def inverted_db(victim: Victim, sent: dict[str, Tensor], twin: Twin | None = None, without: str = "") -> float:
    """PSNR of what matching by L-BFGS rebuilds from one gradient, with the label known."""
    guess = torch.rand(victim.digit.shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    optimizer = torch.optim.LBFGS([guess], lr=1, max_iter=50, history_size=100)
    best, least = guess.detach().clone(), float("inf")

    def closure() -> Tensor:
        nonlocal best, least
        optimizer.zero_grad()
        found = gradients(victim.model, guess, victim.label, create_graph=True)
        found = found if twin is None else twin(found)
        loss = sum(((found[name] - sent[name]).square().sum() for name in sent if name != without), torch.zeros(()))
        loss.backward()
        if loss.item() < least:
            best, least = guess.detach().clone(), loss.item()
        return loss

    optimizer.step(closure)
    return -10 * float((best.clamp(0, 1) - victim.digit).square().mean().log10())


def test_without_a_defense_the_digit_is_rebuilt(victim):
    sent, _ = sent_by(victim, "clip", bound=1e9)
    assert inverted_db(victim, sent) > 60


def test_a18_soteria_stops_those_who_match_everything_and_nobody_who_leaves_its_layer_out(victim):
    sent, twin = sent_by(victim, "soteria", rate=0.6)
    assert inverted_db(victim, sent) < 10
    assert inverted_db(victim, sent, without="5.weight") > 60
    assert inverted_db(victim, sent, twin) > 60


@pytest.mark.parametrize(
    ("name", "options", "unaware_below", "aware_above"),
    [
        ("dgp", {"smallest": 0.7}, 10, 30),
        ("pfgd", {"rate": 0.01}, 10, 35),
        ("clip", {"bound": 1.0}, 10, 60),
        ("layer-prune", {"by": "sensitivity", "rate": 0.4}, 10, 30),
        ("quantize", {"bits": 8}, 100, 30),
        ("autoencoder", {"ratio": 4.0}, 20, 25),
        ("prune", {"rate": 0.8}, 20, 25),
    ],
)
def test_a19_who_applies_the_same_map_rebuilds_what_it_seems_to_hide(victim, name, options, unaware_below, aware_above):
    sent, twin = sent_by(victim, name, **options)
    assert inverted_db(victim, sent) < unaware_below
    assert inverted_db(victim, sent, twin) > aware_above


def test_a19_noise_of_dp_size_leaves_ridge_at_the_mean_image(victim):
    """Clipped to 1 and with a deviation of 0.1 for each number, the whole gradient tells a linear attacker nothing."""
    data = load(None, 0)
    clear, noisy = (UPDATE_DEFENSES.make("noise", sigma=sigma, bound=1.0) for sigma in (1e-6, 0.1))
    digits = np.concatenate([data.auxiliary.inputs[:200], data.private.inputs[:30]])
    labels = np.concatenate([data.auxiliary.labels[:200], data.private.labels[:30]])
    rows: dict[str, list[Tensor]] = {"clear": [], "noisy": []}
    for k, (digit, label) in enumerate(zip(torch.from_numpy(digits), torch.from_numpy(labels), strict=True)):
        update = gradients(victim.model, digit[None], label[None])
        for key, defense in (("clear", clear), ("noisy", noisy)):
            sent = defense.protect_update(update, rng(k), {}, None)
            rows[key].append(torch.cat([value.flatten() for value in sent.values()]))
    pixels = torch.from_numpy(digits).flatten(1).double()
    mean = pixels[:200].mean(0)

    def db(rebuilt: Tensor) -> float:
        return -10 * float((rebuilt - pixels[200:]).square().mean().log10())

    def ridge_db(x: Tensor) -> float:
        x = x.double()
        x = (x - x[:200].mean(0)) / x[:200].std(0).clamp(min=1e-9)
        kernel = x[:200] @ x[:200].T
        weights = torch.linalg.solve(kernel + x.shape[1] * torch.eye(200), pixels[:200] - mean)
        return db(mean + x[200:] @ x[:200].T @ weights)

    assert ridge_db(torch.stack(rows["clear"])) > db(mean) + 2
    assert abs(ridge_db(torch.stack(rows["noisy"])) - db(mean)) < 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "unaware_below", "aware_above"),
    [
        ("soteria", {"rate": 0.6}, 10, 60),
        ("dgp", {"smallest": 0.7}, 10, 30),
        ("pfgd", {"rate": 0.01}, 10, 35),
        ("quantize", {"bits": 8}, 100, 30),
    ],
)
def test_on_mnist_deep_leakage_from_gradients_finds_the_same(name, options, unaware_below, aware_above):
    """A18 and A19 as they are: the network of the paper, and the best of 3 digits."""
    if not (data_root() / "MNIST").is_dir():
        pytest.skip("MNIST is not here")
    mnist = load_mnist(data_root(), 0)
    private = mnist.private.take(3)
    digits, labels = torch.from_numpy(private.inputs), torch.from_numpy(private.labels)
    model, defense = zoo.build("dlg_lenet", mnist.input, 10, 0), UPDATE_DEFENSES.make(name, **options)
    given = zip(digits[:, None], labels[:, None], strict=True)
    observations = [observed(model, x, y, defense, rng()).observation for x, y in given]
    view = UpdateView(
        input=mnist.input, classes=10, auxiliary=mnist.auxiliary.take(100), _labels=tuple(labels[:, None])
    )
    attack = UPDATE_ATTACKS.make("dlg", labels="known", iterations=15)

    def best_db(view: UpdateView) -> float:
        found = torch.cat([recovered.inputs for recovered in attack.invert(view, observations)])
        return float((-10 * (found - digits).square().flatten(1).mean(1).log10()).max())

    aware, unaware = best_db(replace(view, _defense=defense)), best_db(view)
    assert unaware < unaware_below
    assert max(aware, unaware) > aware_above
