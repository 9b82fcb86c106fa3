"""Several readers together: no worse than the best of them, and better where they err differently."""

import pytest
import torch

from cutlayer.attacks.tokens.reencoding import Reencoding, by_head
from cutlayer.attacks.tokens.token_ensemble import finite, pool
from cutlayer.attacks.view import Access
from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.errors import ConfigError
from cutlayer.metrics.tokens import right_share
from cutlayer.privacy.view import oracle, view, wire
from cutlayer.registry import ATTACKS
from tests.attacks.tokens.victims import head, sentences, view_of
from tests.defenses import sentences as trained

PARTS = ({"name": "token-ridge"}, {"name": "nearest-activation"}, {"name": "token-decoder", "epochs": 2})
PRIVATE = sentences(100, seed=2)


@pytest.mark.parametrize("sigma", [0.0, 4.0])
def test_on_a_split_it_is_no_worse_than_its_best_part(sigma):
    split, data, noise = trained.trained(), trained.sentences(), GaussianNoise(sigma=sigma)

    def computed(ids):
        with torch.no_grad():
            return split.head(torch.from_numpy(ids)).numpy()

    seen = view(
        Access.BLACK_BOX, input=split.input, smashed=split.smashed, auxiliary=data.auxiliary, defense=noise,
        query=oracle(wire(computed, noise, "raw", [1], data.input.shape[0])), device=torch.device("cpu"),
    )  # fmt: skip
    attack = ATTACKS.make("token-ensemble", attacks=PARTS, n_queries=2)
    attack.fit(seen)
    ids = torch.from_numpy(data.test.inputs)
    arrived = seen.query(ids)
    found, *of_parts = (right_share(one.invert(arrived), ids) for one in (attack, *attack.contained))
    best = max(of_parts, key=lambda shares: float(shares.mean()))
    apart = found - best
    assert apart.mean() >= -2 * apart.std() / len(ids) ** 0.5
    assert found.mean() > 0.2


def test_the_weights_are_those_of_independent_witnesses():
    """Scores that are log-likelihoods but for a factor get its inverse as their weight, and noise gets none."""
    generator = torch.Generator().manual_seed(0)
    right = torch.randint(6, (4000,), generator=generator)
    true = torch.nn.functional.one_hot(right, 6).float()
    seen = [strength * true + torch.randn(4000, 6, generator=generator) for strength in (1.0, 2.0)]
    scores = torch.stack([3.0 * seen[0], 0.5 * 2.0 * seen[1], torch.randn(4000, 6, generator=generator)], 2)
    weights = pool(scores, right)
    torch.testing.assert_close(weights[:2], torch.tensor([1 / 3, 2.0]), rtol=0.1, atol=0)
    assert weights[2] < 0.05
    hits = [float((s.argmax(1) == right).float().mean()) for s in (scores @ weights, *scores.unbind(2))]
    assert hits[0] > max(hits[1:]) + 0.02


def test_a_word_that_a_reader_cannot_name_counts_as_its_least_likely():
    scores = torch.tensor([[1.0, -torch.inf, -3.0], [0.0, 2.0, 1.0]])
    assert finite(scores).tolist() == [[1.0, -3.0, -3.0], [0.0, 2.0, 1.0]]


def test_of_two_guesses_the_one_that_would_have_sent_what_arrived_is_taken():
    view = view_of(head(2))
    attack = ATTACKS.make("token-ensemble", attacks=PARTS[:2], head=True)
    own = torch.from_numpy(view.auxiliary.inputs[:200])
    attack._again, attack._trust = Reencoding(by_head(view.head), own, view.query(own)), 1.0
    wrong, place = PRIVATE[:, 0] % 38 + 1, 0
    words = torch.stack([PRIVATE, PRIVATE], 2)
    words[:, place, 0] = wrong
    odds = torch.zeros(words.shape)
    odds[..., 1] = -5.0
    odds[:, place, 0] = -0.7
    arrived = view.query(PRIVATE)
    found = attack._refined(arrived, words, odds, attack._tried(attack._again, arrived, words, odds))
    assert torch.equal(found, PRIVATE)


def test_what_fits_better_is_right_more_often_behind_noise():
    view = view_of(head(2), GaussianNoise(sigma=1.0))
    attack = ATTACKS.make("token-ensemble", attacks=PARTS[:2], candidates=0)
    attack.fit(view)
    arrived, own = view.query(PRIVATE), torch.from_numpy(view.auxiliary.inputs[:200])
    alone = right_share(attack.invert(arrived), PRIVATE).mean()
    attack.candidates, attack._trust = 8, 1.0
    attack._again = Reencoding(by_head(view.head), own, view.query(own))
    assert right_share(attack.invert(arrived), PRIVATE).mean() > alone


def test_it_asks_for_what_its_parts_and_its_options_need():
    assert ATTACKS.make("token-ensemble").needs is Access.BLACK_BOX
    assert ATTACKS.make("token-ensemble", head=True).needs is Access.WHITE_BOX
    model = ({"name": "token-ridge", "words": "model"}, {"name": "nearest-activation"})
    assert ATTACKS.make("token-ensemble", attacks=model).needs is Access.WHITE_BOX


@pytest.mark.parametrize("name", ["averaging", "causal-search"])
def test_parts_that_score_no_words_are_refused(name):
    options = {"attack": "token-ridge"} if name == "averaging" else {}
    parts = ({"name": name, **({"options": {}} if options else {}), **options}, {"name": "token-ridge"})
    with pytest.raises(ConfigError, match=r"token-ensemble.attacks must name attacks that score all words of a place"):
        ATTACKS.make("token-ensemble", attacks=parts)


def test_a_single_part_is_refused():
    with pytest.raises(ConfigError, match=r"token-ensemble.attacks must name two attacks or more"):
        ATTACKS.make("token-ensemble", attacks=({"name": "token-ridge"},))
