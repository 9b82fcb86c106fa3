import pytest
import torch

from cutlayer.attacks.answers.losses import LOSSES, cross_entropy, log_probability, margin, poincare

Y = torch.tensor([1])
each = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def confident(by, classes=5):
    return by * torch.nn.functional.one_hot(Y, classes).float()


def gradient(loss, logits):
    logits = logits.clone().requires_grad_()
    return torch.autograd.grad(loss(logits, Y).sum(), logits)[0]


def descended(loss, logits):
    for _ in range(300):
        logits = logits - 0.1 * gradient(loss, logits)
    return logits


@each
def test_least_where_the_class_is_named_most_surely(loss):
    random = torch.Generator().manual_seed(0)
    others = 3 * torch.randn(200, 5, generator=random)
    others[others.argmax(1) == 1] *= -1
    assert loss(confident(10), Y) < loss(others, Y.expand(200)).min()


@pytest.mark.parametrize("start", [[2.0, 1.0, 0.5, 0.0, 1.0], [2.0, -1.0, 0.5, 0.0, 1.0]])
def test_descent_leads_to_the_class_but_not_that_of_the_poincare_distance(start):
    """It pays as well to share the norm among other classes, and a negative logit of the class stays below 0."""
    reached = {name for name, loss in LOSSES.items() if descended(loss, torch.tensor([start])).argmax(1) == Y}
    assert reached == LOSSES.keys() - {"poincare"}
    assert descended(poincare, torch.tensor([[1.0, 2.0, 0.5, 0.0, 1.0]])).argmax(1) == Y


@each
@pytest.mark.parametrize("logits", [confident(1e4), confident(-1e4), confident(0.0), confident(1.0)])
def test_finite_at_saturation(loss, logits):
    assert loss(logits, Y).isfinite().all()
    assert gradient(loss, logits).isfinite().all()


def test_the_gradient_of_cross_entropy_vanishes_at_a_confident_class_and_that_of_the_margin_does_not():
    logits = torch.tensor([[0.0, 40.0, 1.0]])
    assert gradient(cross_entropy, logits).abs().max() < 1e-12
    assert gradient(margin, logits).tolist() == [[0, -1, 1]]


def test_the_margin_is_the_distance_to_the_nearest_other_class():
    assert margin(torch.tensor([[3.0, 1.0, 2.0]]), Y).item() == 2


def test_the_poincare_distance_of_a_known_case():
    """u = (1/2, 1/2) and v = (0, 1 - 1e-4)."""
    logits = torch.tensor([[3.0, 3.0]], dtype=torch.float64)
    inside = 1 - 1e-4
    expected = torch.tensor(1 + 2 * (0.25 + (0.5 - inside) ** 2) / (0.5 * (1 - inside**2)), dtype=torch.float64).acosh()
    assert poincare(logits, Y).item() == pytest.approx(expected.item())


def test_probabilities_that_round_to_1_are_still_ordered():
    logits = torch.stack([confident(60.0)[0], confident(61.0)[0], confident(0.0)[0]])
    first, second, even = log_probability(logits, Y.expand(3)).tolist()
    assert first < second <= 0
    assert even == pytest.approx(-1.6094379, abs=1e-6)
