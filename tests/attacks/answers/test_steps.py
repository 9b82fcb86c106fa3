import pytest
import torch

from cutlayer.attacks.answers.steps import adam, distribution, momentum


class Bowl:
    """Squared distance to a point of each row's group, within a bound."""

    def __init__(self, goals, rows, bound=100.0):
        self.groups = torch.arange(len(goals)).repeat_interleave(rows)
        self.goals, self.bound, self.seen = goals[self.groups], bound, []

    def gradient(self, z):
        self.seen.append(z.clone())
        return z - self.goals

    def clip(self, z):
        return z.clamp(-self.bound, self.bound)


GOALS = torch.tensor([[1.0, -2.0], [3.0, 0.5]])


def drawn():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("step", [momentum, adam])
def test_it_reaches_the_least_and_leaves_the_start_alone(step):
    start = torch.zeros(4, 2)
    bowl = Bowl(GOALS, 2)
    torch.testing.assert_close(step(bowl, start, drawn(), 150, lr=0.1), bowl.goals, atol=1e-2, rtol=0)
    assert not start.any()


def test_momentum_is_in_look_ahead_form():
    """The steps are worked by hand for one coordinate, start 0, goal 1, rate 0.1, momentum 0.5."""
    bowl = Bowl(torch.tensor([[1.0]]), 1)
    # v1 = .1, z1 = 1.5 * .1 = .15;  v2 = .05 + .085 = .135, z2 = .15 - .05 + 1.5 * .135
    assert momentum(bowl, torch.zeros(1, 1), drawn(), 2, lr=0.1, momentum=0.5).item() == pytest.approx(0.3025)


@pytest.mark.parametrize("step", [momentum, adam, distribution])
def test_the_search_stays_within_bounds_and_takes_no_step_of_none(step):
    bowl = Bowl(GOALS, 3, bound=0.25)
    z = step(bowl, torch.zeros(6, 2), drawn(), 20, lr=0.5)
    assert z.abs().max() <= 0.25
    if step is not distribution:
        assert not step(bowl, torch.zeros(6, 2), drawn(), 0, lr=0.5).any()


def test_a_distribution_of_each_group_is_narrow_without_and_that_of_the_prior_with_much_divergence():
    narrow = distribution(Bowl(GOALS, 500), torch.zeros(1000, 2), drawn(), 300, lr=0.05).view(2, 500, 2)
    torch.testing.assert_close(narrow.mean(1), GOALS, atol=0.05, rtol=0)
    assert narrow.std(1).max() < 0.3
    wide = distribution(Bowl(GOALS, 500), torch.zeros(1000, 2), drawn(), 300, lr=0.05, kl=1e3).view(2, 500, 2)
    assert wide.mean(1).abs().max() < 0.15
    torch.testing.assert_close(wide.std(1), torch.ones(2, 2), atol=0.15, rtol=0)


def test_a_distribution_weighs_gradient_and_divergence_as_derived():
    """The best q for E|z - goal|^2 / 2 + kl KL(q || N(0, 1)) has the mean goal / (1 + kl), the variance kl / (1 + kl)."""
    bowl = Bowl(torch.tensor([[2.0]]), 4000)
    found = distribution(bowl, torch.zeros(4000, 1), drawn(), 400, lr=0.05, kl=1.0)
    assert found.mean().item() == pytest.approx(1, abs=0.05)
    assert found.var().item() == pytest.approx(0.5, abs=0.05)
