"""The search for words with the head itself: exact for a decoder without defense, elsewhere better than its start."""

import pytest
import torch

from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.errors import ConfigError
from cutlayer.metrics.tokens import right_share
from cutlayer.registry import ATTACKS
from tests.attacks.tokens.victims import head, sentences, view_of

PRIVATE = sentences(24, seed=2)


@pytest.mark.parametrize("blocks", [1, 3])
def test_a_decoder_without_defense_hides_nothing(blocks):
    view = view_of(head(blocks, causal=True))
    # The start knows a few words only, so that the search tries all of them in places.
    attack = ATTACKS.make("causal-search", words="none", n_auxiliary=12, candidates=2)
    attack.fit(view)
    arrived = view.query(PRIVATE)
    assert right_share(attack.contained[0].invert(arrived), PRIVATE).mean() < 0.9
    assert torch.equal(attack.invert(arrived), PRIVATE)


@pytest.mark.parametrize("causal", [False, True])
def test_it_reads_more_than_its_start_behind_noise(causal):
    view = view_of(head(2, causal=causal), GaussianNoise(sigma=1.0))
    attack = ATTACKS.make("causal-search")
    attack.fit(view)
    arrived = view.query(PRIVATE)
    start, found = (right_share(a.invert(arrived), PRIVATE).mean() for a in (attack.contained[0], attack))
    assert found > start


def test_an_unknown_start_is_refused():
    with pytest.raises(ConfigError, match=r"causal-search.words must be one of"):
        ATTACKS.make("causal-search", words="all")
