"""Attacks that begin with another one."""

from dataclasses import dataclass

import pytest
import torch

from cutlayer.attacks.base import fitted
from cutlayer.attacks.view import Access
from cutlayer.attacks.wrapping import Wrapping
from cutlayer.errors import ConfigError
from cutlayer.registry import ATTACKS
from tests.attacks.victims import convolutional_head


@dataclass(kw_only=True)
class Mirrored(Wrapping):
    """All that a new attack of this kind has to write."""

    def fit(self, view):
        self._inner = fitted(self._inner, view)

    def invert_releases(self, releases):
        return self._inner.invert_releases(releases).flip(-1)


def test_it_states_what_the_other_attack_needs_and_waits_for():
    attack = Mirrored(attack="averaging", options={"attack": "white-box", "n_releases": 3})
    assert (attack.needs, attack.n_releases) == (Access.WHITE_BOX, 3)
    assert Mirrored(attack="mean-image").needs is Access.BLACK_BOX
    assert [type(part).__name__ for part in attack.parts] == ["Mirrored", "Averaging", "WhiteBox"]


def test_it_shares_the_other_attack_and_learns_how_that_one_errs(make_view):
    view, attack = make_view(convolutional_head()), Mirrored(attack="ridge")
    attack.fit(view)
    inner = fitted(ATTACKS.make("ridge"), view)
    assert attack.contained == (inner,)
    images, rebuilt, releases = attack.rehearsed(view, 5)
    assert images.shape == rebuilt.shape == (5, *view.input.shape)
    assert torch.equal(releases, view.query(images)[None])
    assert not torch.equal(rebuilt, inner.invert(releases[0])), "it was fitted to these images"
    assert torch.equal(attack.invert(releases[0]), inner.invert(releases[0]).flip(-1))


@pytest.mark.parametrize("name", [n for n in ATTACKS if issubclass(ATTACKS.load(n), Wrapping)])
def test_an_attack_that_rebuilds_nothing_cannot_be_begun_with(name):
    with pytest.raises(ConfigError, match=r"watch-list reconstructs nothing|must be one of .*, not 'watch-list'"):
        ATTACKS.make(name, attack="watch-list")
