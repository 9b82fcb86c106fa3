"""What every attack promises, checked over the whole registry, and the brackets that none may leave."""

from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from cutlayer.attacks.base import Attack
from cutlayer.attacks.view import Access, View
from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.errors import ConfigError, WithheldError
from cutlayer.metrics.identification import ranks, shares
from cutlayer.registry import ATTACKS
from tests.attacks.victims import constant_head, convolutional_head, linear_head

ROOT = Path(__file__).parents[2]


class Row(NamedTuple):
    """One attack at options at which it is quick."""

    name: str
    options: dict[str, Any]

    def make(self) -> Attack:
        return ATTACKS.make(self.name, **self.options)

    def view(self, make_view, *victim, **options) -> View:
        """The view of a victim, in which the attack observes what it observes on the wire."""
        return make_view(*victim, sees=self.make().sees, **options)


ROWS = [
    Row("mean-image", {}),
    Row("nearest", {}),
    Row("nearest", {"metric": "cosine", "n_auxiliary": 50}),
    Row("ridge", {}),
    Row("ridge", {"max_system": 50}),
    Row("pca-ridge", {"components": 40}),
    Row("kernel-ridge", {"features": 64, "bandwidth": (1.0,)}),
    Row("kernel-ridge", {"features": 64, "kernel": ("gaussian",), "window": (3,)}),
    Row("query-free", {"epochs": 2, "options": {"iterations": 5, "lr": (0.1,), "tv": (2.0,)}}),
    Row("query-free", {"epochs": 2, "attack": "ridge", "shadow": "3x3x4+3x3x8+p", "match": 0.0}),
    Row("denoise-first", {"attack": "ridge", "epochs": 2}),
    Row("averaging", {"attack": "denoise-first", "n_releases": 2, "options": {"attack": "ridge", "epochs": 2}}),
    Row("decoder", {"capacity": "conv_normN0C16", "epochs": 2}),
    Row("decoder", {"capacity": "he-small", "epochs": 2, "auxiliary": "noise"}),
    Row("decoder", {"capacity": "conv_normN0C16", "epochs": 2, "varied": True, "schedule": "constant"}),
    Row("white-box", {"iterations": 20}),
    Row("white-box", {"iterations": 20, "misfit": ("channel", "whitened", "survivors"), "restarts": 2}),
    Row("deep-prior", {"iterations": 3, "widths": (4, 8), "tv": (0.01,), "rehearsal": 2}),
    Row("deep-prior", {"iterations": 3, "widths": (4,), "tv": (0.0,), "noise": (1.0,), "misfit": ("survivors",)}),
    Row(
        "diffusion-prior",
        {"attack": "ridge", "steps_down": 2, "rate": (0.4,), "draws": 1, "width": 4, "prior_epochs": 1, "rehearsal": 4},
    ),
    Row("map", {"attack": "ridge", "iterations": 5, "misfit": ("plain", "whitened", "survivors")}),
    Row("map", {"attack": "averaging", "options": {"n_releases": 3}, "iterations": 5}),
    Row("learned-step", {"attack": "ridge", "corrections": 2, "width": 4, "blocks": 1, "epochs": 2}),
    Row("stack", {"attacks": ({"name": "ridge"}, {"name": "nearest"}, {"name": "averaging", "n_releases": 2})}),
    Row("ensemble", {"attacks": ({"name": "ridge"}, {"name": "nearest"})}),
    Row("averaging", {"n_releases": 3}),
    Row("averaging", {"n_releases": 3, "over": "survivors"}),
    Row("averaging", {"attack": "white-box", "n_releases": 2, "options": {"iterations": 5}}),
    Row("mask-aware", {"options": {"capacity": "conv_normN0C16", "epochs": 2}}),
    Row("mask-aware", {"attack": "ridge", "see": "positions"}),
    Row("mask-aware", {"attack": "ridge", "see": "values"}),
    Row("traffic", {}),
    Row("traffic", {"n_releases": 3, "n_queries": 2}),
    Row("watch-list", {}),
    Row("watch-list", {"n_releases": 2, "n_queries": 3}),
    Row("watch-list", {"likelihood": True}),
    Row(
        "generator",
        {"iterations": 5, "latent": 4, "width": 4, "prior_steps": 6, "pixels": 3, "crafted": 8, "starts": 2},
    ),
]
SEARCH = {"attack": "mean-image", "iterations": 150, "lr": 0.3, "misfit": ("plain",)}
each = pytest.mark.parametrize("row", ROWS, ids=lambda row: repr(row.make()))
each_that_rebuilds = pytest.mark.parametrize(
    "row", [row for row in ROWS if row.make().reconstructs], ids=lambda row: repr(row.make())
)


def test_every_registered_attack_has_a_row():
    on_images = {name for name in ATTACKS if "image" in ATTACKS.load(name).rebuilds}
    missing = sorted(on_images - {row.name for row in ROWS})
    assert not missing, f"Add a row for {', '.join(missing)} to ROWS in {Path(__file__).relative_to(ROOT)}."


@pytest.mark.parametrize("name", ATTACKS)
def test_says_what_it_does(name):
    attack = ATTACKS.load(name)
    assert is_dataclass(attack)
    assert attack.plain_words, f"{attack.__name__} needs plain_words, which the report prints"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("averaging", {"n_releases": 0}, "n_releases must be 1 to 10,000,000"),
        ("averaging", {"over": "the moon"}, "over must be one of releases, survivors"),
        ("averaging", {"attack": "averaging"}, "cannot wrap itself"),
        ("averaging", {"attack": "no-such"}, "There is no attack"),
        ("decoder", {"capacity": "big"}, "There is no decoder 'big'"),
        ("decoder", {"capacity": "res_normN4C0"}, "There is no decoder"),
        ("decoder", {"auxiliary": "victims"}, "auxiliary must be one of images, noise"),
        ("decoder", {"schedule": "steps"}, "schedule must be one of cosine, constant"),
        ("map", {"misfit": ("best",)}, "misfit must be of plain, channel, whitened, survivors, likelihood"),
        ("map", {"attack": "no-such"}, "There is no attack"),
        ("stack", {"attacks": ({"name": "ridge"},)}, "stack.attacks must name two attacks or more"),
        ("stack", {"attacks": ({"name": "ridge"}, {"epochs": 3})}, "needs a name"),
        ("ensemble", {"attacks": ({"name": "ridge"}, {"name": "ridg"})}, "There is no attack named 'ridg'"),
        ("kernel-ridge", {"kernel": ("linear",)}, "kernel must be of gaussian, arc-cosine"),
        ("kernel-ridge", {"window": (0, 2)}, "window must be 0 or odd"),
        ("query-free", {"shadow": "3x3x4+pool"}, "'pool' is no layer"),
        ("query-free", {"attack": "query-free"}, "query-free cannot run 'query-free'"),
        ("denoise-first", {"attack": "white-box"}, "denoise-first cannot run 'white-box'"),
        ("mask-aware", {"see": "all"}, "see must be one of both, positions, values"),
        ("mask-aware", {"attack": "white-box"}, "mask-aware cannot run 'white-box'"),
        ("mask-aware", {"attack": "averaging"}, "mask-aware cannot run 'averaging'"),
        ("nearest", {"metric": "l1"}, "metric must be one of l2, cosine"),
        (
            "white-box",
            {"misfit": ("plain", "best")},
            "misfit must be of plain, channel, whitened, survivors, likelihood",
        ),
    ],
)
def test_an_impossible_option_is_refused(name, options, message):
    with pytest.raises(ConfigError, match=message):
        ATTACKS.make(name, **options)


@each_that_rebuilds
@pytest.mark.parametrize("sigma", [0.0, 0.3])
@pytest.mark.parametrize("n", [1, 5])
def test_gives_one_image_in_range_for_each_input(row, sigma, n, make_view, private):
    view, attack = row.view(make_view, convolutional_head(), GaussianNoise(sigma=sigma)), row.make()
    options = repr(attack)
    attack.fit(view)
    assert repr(attack) == options, "fit() changed an option"
    releases = torch.stack([view.query(private[:n]) for _ in range(attack.n_releases)])
    recorded = releases.clone()
    for images in (attack.invert_releases(releases), attack.invert(releases[0])):
        assert images.shape == (n, 1, 6, 6)
        assert images.dtype == torch.float32
        assert not images.requires_grad
        assert images.min() >= 0
        assert images.max() <= 1
    assert torch.equal(releases, recorded), "what the tap recorded was changed in place"


@each
@pytest.mark.parametrize("sigma", [0.0, 0.05])
def test_scores_each_candidate_for_each_input(row, sigma, make_view, private):
    view, attack = row.view(make_view, convolutional_head(), GaussianNoise(sigma=sigma)), row.make()
    options = repr(attack)
    attack.fit(view)
    assert repr(attack) == options, "fit() changed an option"
    releases = torch.stack([view.query(private[:3]) for _ in range(attack.n_releases)])
    recorded = releases.clone()
    scores = attack.identify(releases, private[:7])
    assert scores.shape == (3, 7)
    assert scores.isfinite().all()
    assert not scores.requires_grad
    assert torch.equal(releases, recorded), "what the tap recorded was changed in place"


@each
def test_nobody_is_identified_behind_a_constant_head(row, make_view, private):
    view, attack = row.view(make_view, constant_head()), row.make()
    attack.fit(view)
    scores = attack.identify(torch.stack([view.query(private)] * attack.n_releases), private)
    found = shares(*ranks(scores, torch.eye(len(private), dtype=torch.bool)), 1)
    assert found.mean() == pytest.approx(1 / len(private), abs=1e-6)


@each
def test_one_seed_one_result(row, make_view, private):
    def result():
        view, attack = row.view(make_view, convolutional_head(), GaussianNoise(sigma=0.1)), row.make()
        attack.fit(view)
        releases = torch.stack([view.query(private[:3]) for _ in range(attack.n_releases)])
        scores = attack.identify(releases, private)
        return (scores, attack.invert_releases(releases).double()) if attack.reconstructs else (scores,)

    before = torch.random.get_rng_state()
    torch.testing.assert_close(result(), result(), rtol=0, atol=1e-5)
    assert torch.equal(torch.random.get_rng_state(), before), "global randomness was touched"


@each
def test_leaves_the_victims_head_alone(row, make_view):
    head = convolutional_head().train()
    row.make().fit(row.view(make_view, head))
    assert head.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in head.parameters())


@each
@pytest.mark.parametrize("access", Access)
def test_reaches_for_nothing_that_is_withheld(row, access, make_view):
    view, attack = row.view(make_view, convolutional_head(), access=access), row.make()
    if access < attack.needs:
        with pytest.raises(WithheldError):
            attack.fit(view)
    else:
        attack.fit(view)


@each_that_rebuilds
def test_nothing_beats_the_mean_image_behind_a_constant_head(row, make_view, private):
    view, attack, floor = row.view(make_view, constant_head()), row.make(), ATTACKS.make("mean-image")
    attack.fit(view)
    floor.fit(view)
    received = view.query(private)
    error, least = ((fitted.invert(received) - private).square().mean() for fitted in (attack, floor))
    assert 10 * torch.log10(least / error) < 0.1


@pytest.mark.parametrize(
    ("name", "options", "least_db"),
    [
        ("ridge", {}, 55),
        ("pca-ridge", {}, 55),
        ("kernel-ridge", {}, 55),
        ("white-box", {"iterations": 600}, 60),
        ("map", SEARCH, 60),
    ],
)
def test_an_invertible_head_hides_nothing(name, options, least_db, make_view, private):
    view, attack = make_view(linear_head()), ATTACKS.make(name, **options)
    attack.fit(view)
    error = (attack.invert(view.query(private)) - private).square().flatten(1).mean(dim=1)
    assert (-10 * torch.log10(error)).mean() > least_db


def test_an_exact_reconstruction_identifies_every_input(make_view, private):
    view, attack = make_view(linear_head()), ATTACKS.make("ridge")
    attack.fit(view)
    assert attack.identify(view.query(private)[None], private).argmax(1).tolist() == list(range(len(private)))
