import pytest
import torch

from cutlayer.attacks.features.map import Map, suitable
from cutlayer.attacks.view import Access
from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.defenses.laplace_noise import LaplaceNoise
from cutlayer.defenses.top_k import TopK
from cutlayer.errors import ConfigError
from cutlayer.registry import ATTACKS
from tests.attacks.victims import constant_head, convolutional_head, error

QUICK = {"iterations": 30, "lr": 0.3}


@pytest.mark.parametrize("sigma", [0.0, 0.3])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mean-image", {}),
        ("ridge", {}),
        ("decoder", {"capacity": "conv_normN0C16", "epochs": 3}),
        ("averaging", {"attack": "ridge", "n_releases": 4}),
        ("learned-step", {"attack": "ridge", "corrections": 1, "width": 8, "blocks": 1, "epochs": 2}),
    ],
)
def test_it_is_never_worse_than_the_attack_it_begins_with(name, options, sigma, make_view, private):
    view, attack = (
        make_view(convolutional_head(), GaussianNoise(sigma=sigma)),
        Map(attack=name, options=options, **QUICK),
    )
    attack.fit(view)
    releases = torch.stack([view.query(private) for _ in range(attack.n_releases)])
    searched, start = (part.invert_releases(releases) for part in attack.parts[:2])
    assert (searched - private).square().mean() <= (start - private).square().mean()


def test_it_finds_what_the_head_knows_and_the_start_does_not(make_view, private):
    view = make_view(convolutional_head())
    floor = error(ATTACKS.make("mean-image"), view, private)
    assert error(Map(attack="mean-image", **QUICK), view, private) < 0.1 * floor


def test_where_no_search_helps_it_answers_as_the_first_attack(make_view, private):
    view = make_view(constant_head())
    attack, start = Map(attack="mean-image", iterations=60), ATTACKS.make("mean-image")
    attack.fit(view)
    start.fit(view)
    received = view.query(private)
    assert torch.equal(attack.invert(received), start.invert(received))


def test_the_search_explains_every_release(make_view, private):
    view = make_view(convolutional_head(), GaussianNoise(sigma=0.3))
    options = {"attack": "ridge", "n_releases": 8}
    attack = Map(attack="averaging", options=options, misfit=("plain",), **QUICK)
    attack.fit(view)
    releases = torch.stack([view.query(private) for _ in range(attack.n_releases)])
    one, all_of_them = (attack.invert_releases(part) for part in (releases[:1].repeat(8, 1, 1, 1, 1), releases))
    assert (all_of_them - private).square().mean() < 0.8 * (one - private).square().mean()


def test_it_trains_the_same_decoder_once_for_all_that_contain_it(make_view, monkeypatch):
    fitted = []
    kind = ATTACKS.load("ridge")
    monkeypatch.setattr(kind, "fit", lambda self, view, fit=kind.fit: (fitted.append(1), fit(self, view))[1])
    view = make_view(convolutional_head(), access=Access.WHITE_BOX)
    for iterations in (2, 3):
        Map(attack="ridge", iterations=iterations, misfit=("plain",)).fit(view)
    assert len(fitted) == 2  # on the images without those held out, and on all of them


def test_with_noise_of_known_density_the_likelihood_is_tried_and_elsewhere_refused(make_view, private):
    view = make_view(convolutional_head(), LaplaceNoise(scale=0.2))
    assert suitable(view.defense, view.query(private)) == ("whitened", "likelihood")
    floor = error(ATTACKS.make("mean-image"), view, private)
    assert error(Map(attack="mean-image", misfit=("likelihood",), **QUICK), view, private) < 0.8 * floor
    with pytest.raises(ConfigError, match="states no density of what arrives"):
        Map(attack="mean-image", misfit=("likelihood",)).fit(make_view(convolutional_head()))


def test_values_that_were_left_out_are_not_compared():
    assert suitable(TopK(), torch.ones(1, 8)) == ("whitened", "survivors")
