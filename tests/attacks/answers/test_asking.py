"""The searches that need no gradient, and what attacks that only ask make of a budget."""

import pytest
import torch

from cutlayer.attacks.answers import asked
from cutlayer.attacks.answers.brep_mi import BrepMi, repelled
from cutlayer.attacks.answers.first_hit import FirstHit, hits
from cutlayer.attacks.answers.genetic import Genetic, evolved
from cutlayer.attacks.answers.prior_of import prior_of
from cutlayer.attacks.answers.view import ClassView, Reply, Service
from cutlayer.data.splits import Dataset
from cutlayer.errors import ConfigError
from cutlayer.spec import image_spec

INPUT = image_spec(1, 8, 8)


def view(reply, budget=None, targets=(0, 1), says=None):
    """A victim that names class 0 for bright images and class 1 for dark ones, and never class 2."""

    def ask(inputs):
        bright = 20 * (inputs.flatten(1).mean(1) - 0.5)
        return torch.stack([bright, -bright, torch.full_like(bright, -50)], 1).log_softmax(1)

    random = torch.Generator().manual_seed(0)
    images = (0.5 + 0.1 * torch.randn(60, 1, 1, 1, generator=random)).clamp(0, 1).expand(60, *INPUT.shape)
    images = (images + 0.05 * torch.randn(60, *INPUT.shape, generator=random)).clamp(0, 1)
    own = Dataset(images.numpy(), torch.zeros(60, dtype=torch.int64).numpy())
    service = Service(says or ask, reply, budget)
    return ClassView(input=INPUT, classes=3, targets=targets, auxiliary=own, reply=reply, seed=1, _service=service)


def test_generations_get_better_and_keep_their_best():
    random = torch.Generator().manual_seed(0)
    z = torch.randn(3, 20, 5, generator=random)
    goals = torch.tensor([-0.5, 0.0, 0.5]).view(3, 1, 1)
    last = [(z - goals).square().sum(2).amin(1)]

    def loss(children):
        assert children.shape == (3, 19, 5)
        assert children.abs().max() <= 1.5
        return (children - goals).square().sum(2)

    for generations in (1, 5, 30):
        found = evolved(loss, z, (z - goals).square().sum(2), generations, random, bound=1.5)
        losses = (found - goals).square().sum(2)
        assert (losses.diff(dim=1) >= 0).all()
        assert (losses[:, 0] <= last[0]).all()
    assert (losses[:, 0] < 0.1 * last[0]).all()


def test_the_better_parent_gives_more():
    random = torch.Generator().manual_seed(0)
    better, worse = torch.ones(1, 1, 200), torch.zeros(1, 1, 200)
    z, losses = torch.cat([better, worse, worse], 1), torch.tensor([[1.0, 2.0, 50.0]])
    given = []
    for _ in range(100):
        evolved(lambda z: given.append(z) or torch.ones(z.shape[:2]), z, losses, 1, random, mutation=0)
    p = 1 / (1 + torch.tensor(-1.0).exp())  # of the better parent, to be drawn and to give
    assert torch.stack(given).mean().item() == pytest.approx(float(p**2 + 2 * p * (1 - p) * p), abs=0.04)


def test_repulsion_moves_away_from_the_border_and_never_leaves_the_class():
    random = torch.Generator().manual_seed(0)
    z = 0.3 * torch.randn(6, 8, generator=random)
    z[:, 0] = 0.05
    n_asked = 0

    def inside(points):
        nonlocal n_asked
        n_asked += points.shape[:2].numel()
        return points[..., 0] > 0

    found, radii = repelled(inside, z, 40, random, points=16, radius=0.2, bound=1.5)
    assert n_asked == 40 * 6 * 17
    assert (found[:, 0] > 0.5).all()
    assert found.abs().max() <= 1.5
    assert (radii > 0.2).all()


def test_steps_that_would_leave_the_class_end_as_well():
    start = torch.full((2, 4), 0.1)
    found, radii = repelled(lambda points: torch.zeros(points.shape[:2], dtype=torch.bool), start, 5, torch.Generator())
    assert torch.equal(found, start)
    assert (radii == 2).all()


def test_hits_are_of_the_class_and_a_class_that_is_never_reached_is_said():
    seen = view(Reply.LABEL, targets=(0, 1, 2))
    prior = prior_of(seen, "linear")
    z, reached = hits(seen, prior, 4, 500, torch.Generator().manual_seed(0))
    assert reached.tolist() == [4, 4, 0]
    assert seen.service.asked == 500
    assert seen.service.labels(asked.images(prior, z[:2]).flatten(0, 1)).tolist() == [0] * 4 + [1] * 4
    assert z.shape == (3, 4, prior.latent)


def test_a_class_with_fewer_hits_than_samples_repeats_them():
    seen = view(Reply.LABEL)
    z, reached = hits(seen, prior_of(seen, "linear"), 9, 10, torch.Generator().manual_seed(0))
    assert reached.sum() == 10
    assert {tuple(row) for row in z.flatten(0, 1).tolist()} == {
        tuple(row) for row in z.flatten(0, 1).unique(dim=0).tolist()
    }
    assert len(z.flatten(0, 1).unique(dim=0)) == 10


@pytest.mark.parametrize("budget", [37, 500, 3000])
@pytest.mark.parametrize(
    "attack",
    [
        Genetic(prior="linear", population=20),
        Genetic(prior="linear", population=7, answers=3),
        BrepMi(prior="linear"),
        FirstHit(prior="linear"),
    ],
    ids=repr,
)
def test_a_budget_is_spent_and_never_exceeded(attack, budget):
    seen = view(attack.needs, budget)
    attack.represent(seen, 2)
    assert seen.service.asked <= budget
    if budget >= 500 and not isinstance(attack, FirstHit):
        assert seen.service.asked > budget - 2 * 2 * 40


def test_more_questions_make_the_genetic_search_surer():
    shown = [
        Genetic(prior="linear", population=20, loss="margin").represent(view(Reply.SCORES, n), 1) for n in (60, 2000)
    ]
    bright, dark = (torch.stack(shown).flatten(3).mean(3)[:, of, 0] for of in (0, 1))
    assert bright[1] > bright[0]
    assert dark[1] < dark[0]


def test_answers_that_are_drawn_are_averaged():
    plain = view(Reply.SCORES)
    prior, z = prior_of(plain, "linear"), torch.randn(5, plain.input.size, generator=torch.Generator().manual_seed(1))
    z = z[:, : prior.latent]
    n_asked = plain.service.asked
    true = asked.scores(plain, prior, z).exp()
    told = plain.service.ask
    random = torch.Generator().manual_seed(0)
    plain.service.ask = lambda x: (told(x).exp() * 2 * torch.rand(len(x), 1, generator=random)).log()
    few, many = (asked.scores(plain, prior, z, answers).exp() for answers in (1, 200))
    assert plain.service.asked - n_asked == 5 * 202
    assert (many - true).norm() < 0.2 * (few - true).norm()


def test_a_loss_that_probabilities_do_not_tell_is_refused():
    with pytest.raises(ConfigError, match="no loss named 'poincare'"):
        Genetic(loss="poincare")
