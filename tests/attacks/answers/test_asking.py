"""The searches that need no gradient, and what attacks that only ask make of a budget."""

import pytest
import torch

from cutlayer.attacks.answers import asked
from cutlayer.attacks.answers.brep_mi import BrepMi, repelled
from cutlayer.attacks.answers.c2fmi import C2fmi, differential, seen_as
from cutlayer.attacks.answers.first_hit import FirstHit, hits
from cutlayer.attacks.answers.genetic import Genetic, evolved
from cutlayer.attacks.answers.label_transfer import LabelTransfer
from cutlayer.attacks.answers.lokt import Lokt
from cutlayer.attacks.answers.prior_of import prior_of
from cutlayer.attacks.answers.rlb_mi import RlbMi, _Agents
from cutlayer.attacks.answers.view import ClassView, Reply, Service
from cutlayer.data.splits import Dataset
from cutlayer.errors import ConfigError
from cutlayer.nets.answered import affordable, learned_answered, questions
from cutlayer.spec import image_spec

INPUT = image_spec(1, 8, 8)


def view(reply, budget=None, targets=(0, 1), classes=2):
    """A victim that names class 0 for bright images and class 1 for dark ones, and never class 2."""

    def ask(inputs):
        bright = 20 * (inputs.flatten(1).mean(1) - 0.5)
        return torch.stack([bright, -bright, torch.full_like(bright, -50)], 1).log_softmax(1)

    random = torch.Generator().manual_seed(0)
    images = (0.5 + 0.1 * torch.randn(60, 1, 1, 1, generator=random)).clamp(0, 1).expand(60, *INPUT.shape)
    images = (images + 0.05 * torch.randn(60, *INPUT.shape, generator=random)).clamp(0, 1)
    own = Dataset(images.numpy(), (torch.arange(60) % classes).numpy())
    service = Service(ask, reply, budget)
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


QUICK = {"prior": "linear", "latent": 8}
STUDENTS = {"steps": 2, "starts": 4, "student_steps": 2, "students": 1}
ATTACKS = [
    Genetic(population=20, **QUICK),
    Genetic(population=7, answers=3, **QUICK),
    C2fmi(embedding_epochs=1, epochs=1, population=8, steps=2, hidden=8, **QUICK),
    RlbMi(hidden=8, batch=4, **QUICK),
    BrepMi(**QUICK),
    LabelTransfer(drawn=10_000, **QUICK, **STUDENTS),
    FirstHit(**QUICK),
    Lokt(latent=4, width=2, **STUDENTS),
]


@pytest.mark.parametrize("budget", [53, 400])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__.lower())
def test_a_budget_is_spent_and_never_exceeded(attack, budget):
    seen = view(attack.needs, budget)
    attack.represent(seen, 2)
    assert seen.service.asked <= budget
    if budget > 100 and not isinstance(attack, FirstHit):
        assert seen.service.asked > budget - 150


def test_differential_evolution_takes_only_trials_that_are_better():
    random = torch.Generator().manual_seed(0)
    z = torch.randn(2, 12, 4, generator=random)

    def loss(z):
        return (z - 0.3).square().sum(2)

    found = loss(differential(loss, z, loss(z), 60, random, scale=0.5, pull=0.3))
    assert (found.diff(dim=1) >= 0).all()
    assert (found.sort(1).values <= loss(z).sort(1).values).all()
    assert (found[:, 0] < 0.2 * loss(z).amin(1)).all()


def test_sure_answers_are_seen_as_one_hot():
    said = torch.tensor([[0.0, -40.0, -60.0], [-0.7, -0.7, -9.0], [-20.0, 0.0, -8.0]])
    told = seen_as(said)
    torch.testing.assert_close(told.norm(dim=1), torch.ones(3))
    assert torch.equal(told[0], torch.tensor([1.0, 0.0, 0.0]))
    assert told[1, 0] == told[1, 1] > told[1, 2] >= 0


def test_agents_know_the_density_of_what_they_draw_and_learn_what_is_rewarded():
    random = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    agents = _Agents(2, 3, 16, 1e-2, random)
    states, noise = torch.randn(2, 5, 3, generator=random), random.get_state()
    drawn, log_density = agents._drawn(states)
    mean, log_sigma = agents.actor(states).chunk(2, dim=2)
    normal = torch.distributions.Normal(mean, log_sigma.exp())
    tanh = torch.distributions.TransformedDistribution(normal, torch.distributions.TanhTransform())
    random.set_state(noise)
    torch.testing.assert_close(log_density, tanh.log_prob(drawn).sum(2), atol=1e-3, rtol=1e-3)
    goals = torch.tensor([-0.4, 0.6]).view(2, 1, 1)
    for _ in range(150):
        states = torch.randn(2, 16, 3, generator=random)
        actions = agents._drawn(states)[0].detach()
        agents.learn(states, actions, -20 * (actions - goals).square().sum(2))
    assert ((agents._drawn(states)[0].mean((1, 2)) - goals.flatten()).abs() < 0.3).all()


def test_a_generator_learns_classes_from_the_labels_of_its_own_images():
    own = torch.from_numpy(view(Reply.LABEL).auxiliary.inputs)
    asked_about = []

    def answer(images):
        asked_about.append(len(images))
        return (images.flatten(1).mean(1) < 0.5).long()

    prior = learned_answered(own, 2, answer, latent=4, width=4, steps=120, seed=0, lr=5e-3)
    assert sum(asked_about) == questions(120)
    y = torch.arange(2).repeat_interleave(50)
    made = prior.image(prior.sample(100, y, torch.Generator().manual_seed(0)), y)
    assert ((made.flatten(1).mean(1) < 0.5).long() == y).float().mean() > 0.8


@pytest.mark.parametrize("n", [-5, 0, 63, 64, 1000, 12345])
def test_as_many_steps_as_questions_pay_for(n):
    assert questions(affordable(n)) <= max(0, n) < questions(affordable(n) + 2)


def test_labels_teach_imitations_that_are_searched_in_place_of_the_victim():
    settings = {"prior": "linear", "latent": 8, "steps": 30, "starts": 50, "student_steps": 150, "students": 2}
    seen = view(Reply.LABEL)
    shown = LabelTransfer(shift=0, **settings).represent(seen, 4)
    assert seen.service.asked == 60
    assert (shown[0].flatten(1).mean(1) > 0.55).all()
    assert (shown[1].flatten(1).mean(1) < 0.45).all()


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


def test_a_prior_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match="no prior named 'wgam'; did you mean wgan"):
        BrepMi(prior="wgam")


def test_an_embedding_is_learned_from_two_classes_at_least():
    with pytest.raises(ConfigError, match="all of one class"):
        C2fmi(**QUICK).represent(view(Reply.SCORES, classes=1), 2)


def test_a_loss_that_probabilities_do_not_tell_is_refused():
    with pytest.raises(ConfigError, match="no loss named 'poincare'"):
        Genetic(loss="poincare")
