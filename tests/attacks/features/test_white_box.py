import math

import torch

from cutlayer.attacks.features.white_box import WhiteBox, freeze, remaining, total_variation
from cutlayer.defenses.base import Defense
from cutlayer.defenses.dropout import Dropout
from cutlayer.defenses.gaussian_noise import GaussianNoise
from tests.attacks.victims import convolutional_head, error, linear_head


def fitted(view, **options):
    """The attack with these options, after `fit`."""
    attack = WhiteBox(**options)
    attack.fit(view)
    return attack


def test_a_batch_gives_what_its_images_give_alone(make_view, private):
    view = make_view(convolutional_head())
    attack = fitted(view, iterations=60, lr=(0.05,), tv=(0.01,), bf16=False)
    received = view.query(private[:6])
    alone = torch.cat([attack.invert(release) for release in received.split(1)])
    torch.testing.assert_close(attack.invert(received), alone, atol=1e-3, rtol=0)


def test_the_optimizer_equals_the_adam_of_torch(make_view, private):
    view, lr, steps = make_view(linear_head()), 0.003, 30
    attack = fitted(view, iterations=steps, lr=(lr,), tv=(0.0,), bf16=False)
    received = view.query(private)
    x = torch.full_like(private, 0.5, requires_grad=True)
    optimizer = torch.optim.Adam([x], lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: remaining(step, steps))
    for _ in range(steps):
        loss = attack._misfit.scalings["plain"](view.head(x) - received).square().mean(dim=1).sum()
        (x.grad,) = torch.autograd.grad(loss, x)
        optimizer.step()
        schedule.step()
    torch.testing.assert_close(attack.invert(received), x.detach().clamp(0, 1), atol=1e-4, rtol=0)


def test_rehearsal_picks_what_works_on_the_attackers_own_images(make_view, private):
    """A vanishing learning rate never leaves gray, an absurd weight of TV never leaves a flat image."""
    attack = fitted(make_view(linear_head()), iterations=150, lr=(1e-5, 0.1), tv=(1e4, 0.0))
    assert attack._setting == ("plain", 0.1, 0.0)


def test_rehearsal_picks_total_variation_against_noise(make_view):
    """No loss of its own would tell: weight 0 always has the least."""
    view = make_view(linear_head(rows=36), GaussianNoise(sigma=0.3))
    attack = fitted(view, iterations=150, lr=(0.1,), tv=(0.0, 1.0))
    assert attack._setting == ("plain", 0.1, 1.0)


def test_the_expectation_draws_anew(make_view, private):
    draws = []

    class Counted(GaussianNoise):
        def protect(self, smashed, rng):
            draws.append(rng)
            return super().protect(smashed, rng)

    view = make_view(linear_head(), Counted(sigma=0.1))
    attack = fitted(view, iterations=4, lr=(0.1,), tv=(0.0,), expectation=3)
    received = view.query(private)
    draws.clear()
    attack.invert(received)
    assert len(draws) == 4 * 3


def test_gradients_pass_through_a_deterministic_defense(make_view, private):
    class Halve(Defense):
        def protect(self, smashed, rng):
            return smashed / 2

    assert error(WhiteBox(iterations=400), make_view(linear_head(), Halve()), private) < 1e-5


def faint_head(condition: float):
    """Linear, invertible, and the faintest direction `condition` times fainter than the strongest."""
    head = linear_head(rows=36)
    left = torch.linalg.qr(torch.randn(36, 36, generator=torch.Generator().manual_seed(3)))[0]
    head[1].weight.data = left * torch.logspace(0, -math.log10(condition), 36) @ head[1].weight
    return head


def test_whitening_sees_through_a_masked_gradient(make_view, private):
    """The image is all there; only the plain descent does not find it in so many steps."""
    view, errors = make_view(faint_head(1000)), {}
    for misfit in ("plain", "whitened"):
        attack = WhiteBox(iterations=300, lr=(0.05,), tv=(0.0,), misfit=(misfit,))
        errors[misfit] = error(attack, view, private)
    assert errors["whitened"] < 0.1 * errors["plain"]


def test_rehearsal_picks_the_misfit_too(make_view):
    attack = fitted(make_view(faint_head(1000)), iterations=200, lr=(0.05,), tv=(0.0,), misfit=("plain", "whitened"))
    assert attack._setting[0] == "whitened"


def test_restarts_keep_the_start_that_fits_best(make_view, private):
    """From gray, a rate this low gets nowhere; a start among the attacker's images may be nearer."""
    view, errors = make_view(linear_head()), []
    for restarts in (1, 100):
        attack = fitted(view, iterations=2, lr=(1e-4,), tv=(0.0,), restarts=restarts)
        errors.append((attack.invert(view.query(private)) - private).square().flatten(1).mean(dim=1))
    assert (errors[1] <= errors[0] + 1e-6).all()
    assert errors[1].mean() < 0.9 * errors[0].mean()


def test_survivors_are_compared_where_a_value_survived(make_view, private):
    """What dropout left out says nothing, and what it spared is exact."""
    view, errors = make_view(linear_head(), Dropout(rate=0.3)), {}
    for misfit in ("plain", "survivors"):
        attack = WhiteBox(iterations=300, lr=(0.05,), tv=(0.01,), misfit=(misfit,))
        errors[misfit] = error(attack, view, private)
    assert errors["survivors"] < 0.5 * errors["plain"]


def test_freezing_keeps_the_function(private):
    head = convolutional_head()
    frozen = freeze(head)
    torch.testing.assert_close(frozen(private), head(private), atol=1e-5, rtol=1e-5)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in frozen.modules())


def test_total_variation_by_hand():
    image = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]], [[[0.5, 0.5], [0.5, 0.5]]]])
    assert total_variation(image).tolist() == [1.0, 0.0]
