"""The watch list of sentences: the likelihood of sentences of all lengths, with answers that are known."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from cutlayer.attacks.features.watch_list import WatchList
from cutlayer.attacks.view import Access
from cutlayer.defenses.dropout import Dropout
from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.defenses.laplace_noise import LaplaceNoise
from cutlayer.defenses.local_dp import LocalDP
from cutlayer.metrics.identification import equal_inputs, ranks, shares
from cutlayer.privacy.ceiling import ceiling
from cutlayer.privacy.view import oracle, view, wire
from cutlayer.sequences import PAD
from tests.attacks.tokens.victims import LENGTH, head, query_of, sentences, view_of
from tests.defenses import sentences as trained

CANDIDATES = sentences(60, seed=2)


def rate(attack, query, times: int, candidates=CANDIDATES) -> float:
    """How often the attack finds what was sent, where each candidate is sent so many times."""
    found = []
    for _ in range(times):
        scores = attack.identify(torch.stack([query(candidates) for _ in range(attack.n_releases)]), candidates)
        found.append(shares(*ranks(scores, equal_inputs(candidates, candidates)), 1).mean())
    return float(np.mean(found))


def test_of_two_sentences_of_a_length_the_right_one_is_found_as_often_as_the_noise_allows():
    """Two Gaussian laws at a distance d are told apart at a rate of Phi(d / 2 sigma)."""
    model = head()
    pairs = torch.zeros(2 * (LENGTH - 1), LENGTH, dtype=torch.int64)
    for i, length in enumerate(range(2, LENGTH + 1)):
        pairs[2 * i : 2 * i + 2, :length] = torch.arange(1, 2 * length + 1).view(2, length)
    with torch.no_grad():
        apart = (model(pairs[::2]) - model(pairs[1::2])).flatten(1).norm(dim=1)
    sigma = float(apart.mean()) / 2
    seen, attack = view_of(model, GaussianNoise(sigma=sigma)), WatchList(likelihood=True)
    attack.fit(seen)
    expected, times = float(Normal(0, 1).cdf(apart / 2 / sigma).mean()), 150
    deviation = (expected * (1 - expected) / (times * len(pairs))) ** 0.5
    assert abs(rate(attack, seen.query, times, pairs) - expected) < 4 * deviation
    assert 0.7 < expected < 0.95


@pytest.mark.parametrize(
    "defense",
    [
        GaussianNoise(sigma=10.0),
        LaplaceNoise(scale=8.0),
        LocalDP(noise=0.2, clip=4.0, epochs=0),
    ],
    ids=repr,
)
def test_it_follows_the_law_of_sentences_of_every_length_and_is_as_good_as_the_ceiling_allows(defense, monkeypatch):
    monkeypatch.setattr("cutlayer.privacy.ceiling.RELEASES", (1,))
    split, data = trained.trained(), trained.sentences()
    split = defense.harden(split, data, seed=0)

    def computed(ids):
        with torch.no_grad():
            return split.head(torch.from_numpy(ids)).numpy()

    seen = view(
        Access.WHITE_BOX, input=split.input, smashed=split.smashed, auxiliary=data.auxiliary, defense=defense,
        query=oracle(wire(computed, defense, "raw", [1], data.input.shape[0])), head=split.head,
        device=torch.device("cpu"),
    )  # fmt: skip
    attack = WatchList(likelihood=True)
    attack.fit(seen)
    assert attack._law is not None
    private = torch.from_numpy(data.private.inputs)
    bound = ceiling(defense, computed, data, len(private), seed=0).at[0].identified
    times = 25
    found = rate(attack, seen.query, times, private)
    deviation = (bound.value * (1 - bound.value) / (times * len(private))) ** 0.5
    assert bound.low - 3 * deviation <= found <= bound.high + 3 * deviation
    assert 0.2 < bound.value < 0.98, "a defense of which the test says nothing"


@pytest.mark.parametrize("likelihood", [False, True])
def test_a_sentence_of_another_length_is_impossible(likelihood):
    seen, attack = view_of(head(), GaussianNoise(sigma=3.0)), WatchList(likelihood=likelihood, n_queries=4)
    attack.fit(seen)
    scores = attack.identify(seen.query(CANDIDATES)[None], CANDIDATES)
    length = CANDIDATES.ne(PAD).sum(1)
    assert torch.equal(scores.isneginf(), length[:, None] != length)


def test_who_knows_head_and_noise_does_no_worse_than_who_compares_releases():
    seen = view_of(head(), GaussianNoise(sigma=1.5))
    rates = []
    for likelihood in (False, True):
        attack = WatchList(likelihood=likelihood, n_queries=16)
        attack.fit(seen)
        rates.append(rate(attack, seen.query, 3))
    assert rates[1] >= rates[0] - 0.05
    assert rates[0] > 0.3


def test_a_length_that_a_defense_may_hide_excludes_nothing():
    """Dropout sometimes leaves nothing of a row of one number."""
    seen, attack = view_of(head(), Dropout(rate=0.9)), WatchList(n_queries=4)
    attack.fit(seen)
    assert not attack._tells_length
    assert attack.identify(seen.query(CANDIDATES)[None], CANDIDATES).isfinite().all()


def test_a_codec_that_breaks_the_law_is_noticed():
    seen = view_of(head(), GaussianNoise(sigma=0.3))
    query = query_of(head(), GaussianNoise(sigma=0.3))
    coarse = seen.with_query(lambda ids: (query(ids) * 2).round() / 2)
    for observed, holds in ((seen, True), (coarse, False)):
        attack = WatchList(likelihood=True)
        attack.fit(observed)
        assert (attack._law is not None) == holds
