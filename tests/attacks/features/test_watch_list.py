"""The watch list: what it must find, and what it must not find more of than there is."""

import pytest
import torch
from torch import Tensor, nn

from cutlayer.attacks.features.comparisons import Equal, Euclidean, Mahalanobis, ways
from cutlayer.attacks.features.watch_list import WatchList
from cutlayer.attacks.view import Access
from cutlayer.defenses.base import Defense
from cutlayer.defenses.dropout import Dropout
from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.defenses.laplace_noise import LaplaceNoise
from cutlayer.defenses.top_k import TopK
from cutlayer.metrics.identification import ranks, shares
from cutlayer.spec import TensorSpec
from tests.attacks.victims import convolutional_head, linear_head, smooth_images

CANDIDATES = smooth_images(200, seed=3)


def rate(view, attack: WatchList, n: int = 100) -> float:
    """The share of the first n candidates that are identified among all."""
    attack.fit(view)
    releases = torch.stack([view.query(CANDIDATES[:n]) for _ in range(attack.n_releases)])
    scores = attack.identify(releases, CANDIDATES)
    return float(shares(*ranks(scores, torch.eye(len(CANDIDATES), dtype=torch.bool)[:n]), 1).mean())


class Heteroscedastic(GaussianNoise):
    """Noise that is a hundred times stronger in one half of the values."""

    def draw(self, like, rng):
        noise = super().draw(like, rng)
        noise[:, : like.shape[1] // 2] *= 100
        return noise


def test_the_identity_as_head_hides_nobody(make_view):
    assert rate(make_view(nn.Identity()), WatchList()) == 1


def test_a_deterministic_defense_hides_nobody_that_its_numbers_tell_apart(make_view):
    assert rate(make_view(convolutional_head(), TopK(sparsity=0.8)), WatchList()) > 0.97


@pytest.mark.parametrize("likelihood", [False, True])
def test_noise_without_end_leaves_a_guess(make_view, likelihood):
    view = make_view(linear_head(), GaussianNoise(sigma=1e4))
    assert rate(view, WatchList(likelihood=likelihood), n=200) < 0.03


@pytest.mark.parametrize("likelihood", [False, True])
def test_more_releases_tell_more(make_view, likelihood):
    rates = [
        rate(make_view(linear_head(), GaussianNoise(sigma=0.5)), WatchList(n_releases=n, likelihood=likelihood), n=200)
        for n in (1, 4, 16)
    ]
    assert rates[0] + 0.1 < rates[1] < rates[2] - 0.05


@pytest.mark.parametrize("defense", [GaussianNoise(sigma=0.25), LaplaceNoise(scale=0.2)])
def test_who_knows_head_and_noise_does_no_worse(make_view, defense):
    view = make_view(linear_head(), defense)
    releases, true = view.query(CANDIDATES[:200])[None], torch.eye(len(CANDIDATES), dtype=torch.bool)[:200]
    attacks = [WatchList(likelihood=likelihood) for likelihood in (False, True)]
    for attack in attacks:
        attack.fit(view)
    black, white = (float(shares(*ranks(attack.identify(releases, CANDIDATES), true), 1).mean()) for attack in attacks)
    assert white >= black - 0.02
    assert white > 0.5


def test_faint_values_count_where_loud_ones_drown_them(make_view):
    """The plain distance finds nothing in noise of which one half of the values is full, and the other nearly free."""
    view, attack = make_view(linear_head(), Heteroscedastic(sigma=0.05)), WatchList()
    assert rate(view, attack) > 0.9
    assert isinstance(attack._way, Mahalanobis)
    attack._way = Euclidean()
    scores = attack.identify(view.query(CANDIDATES[:100])[None], CANDIDATES)
    assert (scores.argmax(1) == torch.arange(100)).float().mean() < 0.3


def test_what_survives_is_compared_where_values_are_left_out(make_view):
    view, attack = make_view(convolutional_head(), Dropout(rate=0.6)), WatchList()
    found = rate(view, attack)
    attack._way = Euclidean()
    scores = attack.identify(view.query(CANDIDATES[:100])[None], CANDIDATES)
    plain = (scores.argmax(1) == torch.arange(100)).float().mean()
    assert found > plain + 0.2


def test_a_codec_that_breaks_the_law_is_noticed(make_view):
    """Where something else arrives than the law says, the attacker compares releases in place of likelihoods."""
    view = make_view(linear_head(), GaussianNoise(sigma=0.3))
    coarse = view.with_query(lambda images: (view.query(images) * 2).round() / 2 * (view.query(images) > 0))
    for seen, holds in ((view, True), (coarse, False)):
        attack = WatchList(likelihood=True)
        attack.fit(seen)
        assert (attack._law is not None) == holds


def test_candidates_come_in_parts(make_view, monkeypatch):
    view = make_view(convolutional_head())
    attack = WatchList()
    attack.fit(view)
    arrived = view.query(CANDIDATES[:9])[None]
    whole = attack.identify(arrived, CANDIDATES)
    monkeypatch.setattr("cutlayer.attacks.features.watch_list.MOST_VALUES", 72 * 7)
    torch.testing.assert_close(attack.identify(arrived, CANDIDATES), whole)


def test_what_is_learned_of_even_noise_does_no_harm():
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(500, 40, generator=generator)

    def releases(rows: Tensor, n: int) -> Tensor:
        return rows + 2 * torch.randn(n, *rows.shape, generator=generator)

    arrived, encoded = releases(clean[200:], 2), releases(clean[200:], 8)
    true = torch.eye(300, dtype=torch.bool)
    learned, plain = (
        float(shares(*ranks(way.score(way.observe(arrived), encoded), true), 1).mean())
        for way in (Mahalanobis(releases(clean[:200], 4)), Euclidean())
    )
    assert 0.1 < plain < 0.9
    assert learned > plain - 0.03


def test_a_distance_behind_noise_needs_no_exact_sum():
    rows = 3 + torch.randn(3, 50, 2000, generator=torch.Generator().manual_seed(0))
    exact, quick = (way.score(way.observe(rows[:1]), rows[1:]) for way in (Equal(), Euclidean()))
    torch.testing.assert_close(quick.double(), exact, rtol=1e-5, atol=0)


def test_only_ways_that_the_noise_calls_for_are_tried():
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(1, 50, 30, generator=generator)
    gaussian = clean + torch.randn(4, 50, 30, generator=generator)
    laplace = clean + torch.distributions.Laplace(0.0, 1.0).icdf(torch.rand(4, 50, 30, generator=generator) * 0.999)
    dropped = clean * (torch.rand(4, 50, 30, generator=generator) > 0.5)
    names = [[type(way).__name__ for way in ways(releases)] for releases in (gaussian, laplace, dropped)]
    assert names[0] == ["Euclidean", "Mahalanobis"]
    assert names[1] == ["Euclidean", "Mahalanobis", "Absolute"]
    assert names[2][-2:] == ["Survivors", "Survivors"]


@pytest.mark.parametrize("defense", [GaussianNoise(sigma=0.1), LaplaceNoise(scale=0.1), Dropout(rate=0.3)], ids=repr)
@pytest.mark.parametrize("n", [2, 4, 9])
def test_an_attacker_with_a_few_images_compares_without_what_it_would_have_to_learn(make_view, defense, n):
    attack = WatchList(n_queries=16)
    # By chance it is 0.01. Dropout draws anew in each run: 60 runs with 4 images gave 0.41 to 0.54.
    assert rate(make_view(linear_head(), defense, n=n), attack) > 0.3
    assert not isinstance(attack._way, Mahalanobis)


def test_queries_are_all_that_the_plain_form_needs(make_view):
    assert WatchList().needs == Access.BLACK_BOX
    assert WatchList(likelihood=True).needs == Access.WHITE_BOX
    assert rate(make_view(linear_head(), Defense(), access=Access.BLACK_BOX), WatchList()) == 1


def test_each_candidate_is_queried_as_often_as_the_size_of_its_release_allows(make_view):
    for rows, expected in ((36, 256), (1024, 128), (65_536, 8)):
        attack = WatchList()
        attack._view = make_view(linear_head(36)).with_query(lambda images: images, TensorSpec((rows,)))
        assert attack._n_queries == expected
    assert WatchList(n_queries=3)._n_queries == 3
