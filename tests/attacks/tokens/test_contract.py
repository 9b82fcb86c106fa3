"""What every attack on tokens promises, over the whole registry, and the brackets that none may leave."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from cutlayer.attacks.base import Attack
from cutlayer.attacks.tokens.words import embedding, frame, vectors
from cutlayer.attacks.view import Access
from cutlayer.data.modality import tokens
from cutlayer.data.splits import Dataset
from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.errors import ConfigError, WithheldError
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


LINEAR = ({"name": "token-ridge"}, {"name": "nearest-activation"})
ROWS = [
    Row("token-frequency", {}),
    Row("token-ridge", {}, 0.98),
    Row("token-ridge", {"words": "model"}, 0.99),
    Row("token-ridge", {"words": "none"}, 0.75),
    Row("nearest-activation", {}, 0.99),
    Row("nearest-activation", {"words": "model"}, 0.99),
    Row("nearest-activation", {"words": "none"}, 0.97),
    Row("token-decoder", {"epochs": 2}, 0.99),
    Row("token-decoder", {"epochs": 2, "sequence": True, "width": 16}, 0.99),
    Row("token-ensemble", {"attacks": LINEAR}, 0.99),
    Row("token-ensemble", {"attacks": LINEAR, "head": True, "candidates": 2}, 0.99),
    Row("causal-search", {}, 1.0),
    Row("causal-search", {"words": "none", "n_auxiliary": 40, "candidates": 20}, 0.9),
    Row("permuted-pairs", {}),
    Row("permuted-pairs", {"attack": "nearest-activation", "options": {"words": "none"}}),
    Row("averaging", {"attack": "token-ridge", "n_releases": 2}, 0.98),
    Row("watch-list", {}),
    Row("watch-list", {"n_releases": 2, "n_queries": 3}),
]
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
    assert not scores.isnan().any()


@pytest.mark.parametrize("row", [row for row in ROWS if not row.make().is_floor], ids=lambda row: repr(row.make()))
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


def test_the_control_refuses_what_does_not_learn_from_pairs():
    with pytest.raises(ConfigError, match=r"permuted-pairs.attack must be one of token-ridge, .* not 'watch-list'"):
        ATTACKS.make("permuted-pairs", attack="watch-list")


@pytest.mark.parametrize("name", ["token-ridge", "nearest-activation"])
def test_unknown_word_vectors_are_refused(name):
    with pytest.raises(ConfigError, match=rf"{name}.words must be one of model, asked, none, not 'all'"):
        ATTACKS.make(name, words="all")


def test_a_head_without_embeddings_has_no_word_vectors():
    class Bare(torch.nn.Module):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return torch.stack([ids.float()] * 16, 2)

    with pytest.raises(ConfigError, match=r"The head embeds no tokens, .* set words to asked or none"):
        ATTACKS.make("token-ridge", words="model").fit(view_of(Bare()))


def test_the_embedding_of_the_words_is_found_beside_that_of_the_places():
    model = head()
    found = embedding(model, VOCABULARY, torch.device("cpu"))
    assert torch.equal(found, model[0].token.weight)


def test_words_that_the_attacker_never_saw_are_read_where_their_vectors_are_known():
    view = view_of(head())
    own = view.auxiliary
    rare = 9
    without = own.at(np.flatnonzero(~(own.inputs == rare).any(1)))
    asked = PRIVATE[PRIVATE.eq(rare).any(1)]
    for words, found in (("none", False), ("asked", True), ("model", True)):
        attack = ATTACKS.make("nearest-activation", words=words)
        attack.fit(view.with_auxiliary(without))
        ids = attack.invert(view.query(asked))
        assert bool((ids[asked.eq(rare)] == rare).all()) == found


def test_an_unknown_word_at_the_beginning_of_a_sentence_is_no_mark_around_words():
    own = np.array([[38, 37, 6, 37, 39, 0, 0], [38, 7, 39, 0, 0, 0, 0]])
    view = view_of(head()).with_auxiliary(Dataset(own, np.zeros(2, np.int64), tokens(VOCABULARY, (38, 39, 37))))
    assert frame(view) == ([38], [39])


def test_marks_are_put_around_a_word_that_is_asked_for():
    own = torch.tensor([[38, 5, 6, 39, 0, 0, 0], [38, 7, 39, 0, 0, 0, 0]])
    view = view_of(head()).with_auxiliary(Dataset(own.numpy(), np.zeros(2, np.int64), tokens(VOCABULARY, (38, 39))))
    assert frame(view) == ([38], [39])
    expected = view.query(torch.tensor([[38, word, 39, 0, 0, 0, 0] for word in range(1, VOCABULARY)]))[:, 1]
    torch.testing.assert_close(vectors("asked", view)[1:], expected)


def test_the_floor_is_the_most_frequent_word_that_is_no_mark():
    own = torch.tensor([[38, 5, 5, 39, 0, 0, 0], [38, 7, 39, 0, 0, 0, 0], [38, 8, 39, 0, 0, 0, 0]])
    view = view_of(head()).with_auxiliary(Dataset(own.numpy(), np.zeros(3, np.int64), tokens(VOCABULARY, (38, 39))))
    attack = ATTACKS.make("token-frequency")
    attack.fit(view)
    assert attack.invert(view.query(own[1:2])).tolist() == [[5, 5, 5, 0, 0, 0, 0]]
