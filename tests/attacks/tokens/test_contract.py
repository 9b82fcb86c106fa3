"""What every attack on tokens promises, over the whole registry, and the brackets that none may leave."""

from typing import Any, NamedTuple

import pytest
import torch

from cutlayer.attacks.base import Attack
from cutlayer.attacks.view import Access
from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.errors import WithheldError
from cutlayer.metrics.identification import ranks, shares
from cutlayer.metrics.tokens import right_share
from cutlayer.registry import ATTACKS
from cutlayer.sequences import PAD
from tests.attacks.tokens.victims import LENGTH, VOCABULARY, Constant, head, query_of, sentences, view_of


class Row(NamedTuple):
    """One attack at options at which it is quick.

    Attributes:
        reads: The least share of tokens that it reads of a head of one block, without a defense.
    """

    name: str
    options: dict[str, Any]
    reads: float = 0.0

    def make(self) -> Attack:
        return ATTACKS.make(self.name, **self.options)


ROWS = [Row("token-ridge", {}, 0.75), Row("watch-list", {}), Row("watch-list", {"n_releases": 2, "n_queries": 3})]
PRIVATE = sentences(24, seed=2)
each = pytest.mark.parametrize("row", ROWS, ids=lambda row: repr(row.make()))
each_that_reads = pytest.mark.parametrize(
    "row", [row for row in ROWS if row.make().reconstructs], ids=lambda row: repr(row.make())
)


def test_every_registered_attack_on_tokens_has_a_row():
    assert {name for name in ATTACKS if "tokens" in ATTACKS.load(name).rebuilds} == {row.name for row in ROWS}


@each_that_reads
@pytest.mark.parametrize("sigma", [0.0, 0.3])
@pytest.mark.parametrize("n", [1, 5])
def test_gives_one_sentence_for_each_input(row, sigma, n):
    view, attack = view_of(head(), GaussianNoise(sigma=sigma)), row.make()
    options = repr(attack)
    attack.fit(view)
    assert repr(attack) == options, "fit() changed an option"
    releases = torch.stack([view.query(PRIVATE[:n]) for _ in range(attack.n_releases)])
    recorded = releases.clone()
    for ids in (attack.invert_releases(releases), attack.invert(releases[0])):
        assert ids.shape == (n, LENGTH)
        assert ids.dtype == torch.int64
        assert ids.min() >= 0
        assert ids.max() < VOCABULARY
        assert torch.equal(ids.eq(PAD), PRIVATE[:n].eq(PAD)), "the length is to be seen in what arrives"
    assert torch.equal(releases, recorded), "what the tap recorded was changed in place"


@each_that_reads
def test_reads_an_undefended_head(row):
    view, attack = view_of(head()), row.make()
    attack.fit(view)
    ids = attack.invert_releases(torch.stack([view.query(PRIVATE)] * attack.n_releases))
    assert right_share(ids, PRIVATE).mean() >= row.reads


@each_that_reads
def test_reads_nothing_behind_a_constant_head(row):
    view, attack = view_of(Constant()), row.make()
    attack.fit(view)
    ids = attack.invert_releases(torch.stack([view.query(PRIVATE)] * attack.n_releases))
    own = torch.from_numpy(view.auxiliary.inputs)
    usual = torch.full_like(PRIVATE, int(own[own != PAD].bincount().argmax()))
    assert right_share(ids, PRIVATE).mean() <= right_share(usual, PRIVATE).mean() + 0.05


@each
def test_scores_each_candidate_for_each_input(row):
    view, attack = view_of(head(), GaussianNoise(sigma=0.05)), row.make()
    attack.fit(view)
    scores = attack.identify(torch.stack([view.query(PRIVATE[:3]) for _ in range(attack.n_releases)]), PRIVATE[:7])
    assert scores.shape == (3, 7)
    assert scores.isfinite().all()


@each
def test_names_the_sentence_that_was_sent(row):
    view, attack = view_of(head()), row.make()
    attack.fit(view)
    scores = attack.identify(torch.stack([view.query(PRIVATE)] * attack.n_releases), PRIVATE)
    assert shares(*ranks(scores, torch.eye(len(PRIVATE), dtype=torch.bool)), 1).mean() > 0.8


@each
def test_one_seed_one_result(row):
    def result() -> torch.Tensor:
        view, attack = view_of(head(), GaussianNoise(sigma=0.1)), row.make()
        attack.fit(view)
        return attack.identify(torch.stack([view.query(PRIVATE) for _ in range(attack.n_releases)]), PRIVATE)

    before = torch.random.get_rng_state()
    torch.testing.assert_close(result(), result(), rtol=0, atol=1e-5)
    assert torch.equal(torch.random.get_rng_state(), before), "global randomness was touched"


@each
@pytest.mark.parametrize("access", Access)
def test_reaches_for_nothing_that_is_withheld(row, access):
    view, attack = view_of(head(), access=access), row.make()
    if access < attack.needs:
        with pytest.raises(WithheldError):
            attack.fit(view)
    else:
        attack.fit(view)


def test_padding_changes_nothing_that_is_sent():
    one = PRIVATE[:1]
    short = one[:, : int(one.ne(PAD).sum())]
    model = head(2)
    with torch.no_grad():
        torch.testing.assert_close(model(one)[:, : short.shape[1]], model(short))
        assert not model(one)[:, short.shape[1] :].any()
    assert torch.equal(query_of(model)(one)[:, short.shape[1] :], torch.zeros_like(model(one)[:, short.shape[1] :]))
