"""Priors that the victim helps to learn, and the attacks that need more than a search."""

import copy
from dataclasses import replace

import pytest
import torch

from cutlayer.attacks.answers import taught
from cutlayer.attacks.answers.diff_mi import DiffMI
from cutlayer.attacks.answers.dmmia import DMMIA
from cutlayer.attacks.answers.emi import EMI
from cutlayer.attacks.answers.label_diffusion import LabelDiffusion
from cutlayer.attacks.answers.margin import Margin
from cutlayer.attacks.answers.ppdg_mi import PPDGMI
from cutlayer.attacks.answers.prior_of import prior_of
from cutlayer.attacks.answers.view import Reply
from cutlayer.errors import ConfigError
from tests.attacks.answers.bars import INPUT, bars, brighter_above, knowing, view


@pytest.fixture(scope="module")
def victim():
    return knowing()


@pytest.fixture(scope="module")
def own():
    """Images of which some are a little brighter above, some below."""
    random = torch.Generator().manual_seed(1)
    images = 0.4 + 0.2 * torch.rand(80, *INPUT.shape, generator=random)
    images[::2, :, :4] += 0.2
    images[1::2, :, 4:] += 0.2
    return images


def test_each_class_has_the_images_that_the_network_takes_for_it(victim, own):
    images, labels = taught.guessed(view(victim, own=own), own)
    assert labels.tolist() == [0] * taught.TOP + [1] * taught.TOP
    with torch.no_grad():
        sure = victim(images).log_softmax(1).gather(1, labels[:, None]).unflatten(0, (2, -1))
        everything = victim(own).log_softmax(1).T.sort(descending=True).values[:, : taught.TOP]
    torch.testing.assert_close(sure.squeeze(2), everything)


def test_a_generator_of_pseudo_labels_draws_the_class_that_is_asked_for(victim, own):
    prior = taught.conditional(view(victim, own=own), own, 8, 4, 40)
    random, y = torch.Generator().manual_seed(0), torch.tensor([0] * 8 + [1] * 8)
    above = brighter_above(prior.image(prior.sample(16, y, random), y)).unflatten(0, (2, 8)).mean(1)
    assert above[0] > 0.05
    assert above[1] < -0.05


def test_the_ensemble_learns_classes_without_data(victim):
    shown = EMI(width=4, latent=8, prior_steps=60, starts=16).represent(view(victim), 4)
    above = brighter_above(shown).mean(1)
    assert above[0] > 0.05
    assert above[1] < -0.05


def test_all_networks_of_the_view_teach_the_ensemble(victim):
    asked, seen = [0, 0], view(victim)
    models = [copy.deepcopy(victim), copy.deepcopy(victim)]
    for number, model in enumerate(models):
        model.register_forward_hook(lambda *_, number=number: asked.__setitem__(number, asked[number] + 1))
    EMI(width=2, latent=4, prior_steps=3, starts=4).represent(replace(seen, _models=tuple(models)), 2)
    assert asked[0] == asked[1] > 3


def test_tuning_leaves_the_shared_generator_as_it_is(victim, own):
    seen = view(victim, own=own)
    attack = DMMIA(latent=4, width=2, prior_steps=8, starts=16, steps=3)
    attack.represent(seen, 3)
    prior = prior_of(seen, "wgan", latent=4, width=2, steps=8)
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    shown = attack.represent(seen, 3)
    assert all(torch.equal(value, before[name]) for name, value in prior.state_dict().items())
    assert not torch.equal(shown, DMMIA(latent=4, width=2, prior_steps=8, starts=16, steps=1).represent(seen, 3))


def test_tuning_makes_the_victim_surer(victim, own):
    def sure(steps):
        shown = DMMIA(latent=4, width=4, prior_steps=20, starts=16, steps=steps).represent(view(victim, own=own), 4)
        with torch.no_grad():
            return victim(shown.flatten(0, 1)).log_softmax(1).gather(1, torch.tensor([[0]] * 4 + [[1]] * 4)).mean()

    assert sure(20) > sure(1)


def test_diffusion_of_pseudo_labels_shows_the_class(victim, own):
    shown = DiffMI(width=8, train_steps=40, steps=6, last_steps=3).represent(view(victim, own=own), 4)
    above = brighter_above(shown).mean(1)
    assert above[0] > above[1] + 0.1


def test_labels_alone_teach_diffusion_and_every_question_counts(victim):
    seen = view(victim, own=bars(40)[0], reply=Reply.LABEL)
    shown = LabelDiffusion(questions=30, width=8, train_steps=50, steps=5, candidates=3).represent(seen, 4)
    assert seen.service.asked == 30 + 2 * 3 * 4
    above = brighter_above(shown).mean(1)
    assert above[0] > above[1] + 0.1


def test_a_generator_that_is_trained_on_what_was_found_draws_more_of_it(victim, own):
    attack = PPDGMI(latent=4, width=2, prior_steps=20, steps=10, starts=16, lessons=8, refit_steps=12)
    seen = view(victim, own=own)
    kept = {name: value.clone() for name, value in attack.made_prior(seen).state_dict().items()}
    shown = attack.represent(seen, 4)
    assert all(torch.equal(value, kept[name]) for name, value in attack.made_prior(seen).state_dict().items())
    assert not torch.equal(shown, replace(attack, refit_steps=0).represent(seen, 4))
    before = Margin(latent=4, width=2, prior_steps=20, steps=10, starts=16)
    torch.testing.assert_close(replace(attack, refit_steps=0, refits=1).represent(seen, 4), before.represent(seen, 4))
    with pytest.raises(ConfigError, match="'linear' is none"):
        PPDGMI(prior="linear").represent(seen, 2)
