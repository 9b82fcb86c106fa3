from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.attacks.features.mean_image import MeanImage
from cutlayer.attacks.features.query_free import QueryFree, _within
from cutlayer.attacks.view import Access
from cutlayer.data.splits import NO_CLASS
from cutlayer.errors import ConfigError
from cutlayer.nets.shadow import build
from tests.attacks.victims import IMAGE, error, smooth_images

TEMPLATES = smooth_images(4, seed=9)


def pictures(n, seed):
    """Images of four classes, each its template and something of its own, and their classes."""
    random = torch.Generator().manual_seed(seed)
    classes = torch.randint(4, (n,), generator=random)
    return (0.6 * TEMPLATES[classes] + 0.4 * smooth_images(n, seed)), classes


def head():
    """A convolution whose weights nobody could guess."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Conv2d(1, 6, 3, padding=1).eval().requires_grad_(False)


@pytest.fixture
def seen(make_view):
    """The view of a query-free attacker on a split whose tail is right."""
    images, classes = pictures(600, seed=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tail = nn.Sequential(nn.Flatten(), nn.Linear(6 * 36, 4))
        optimizer = torch.optim.Adam(tail.parameters(), 1e-2)
        for _ in range(150):
            optimizer.zero_grad()
            nn.functional.cross_entropy(tail(head()(images)), classes).backward()
            optimizer.step()
    view = replace(make_view(head(), access=Access.QUERY_FREE), _tail=tail)
    own, labels = pictures(600, seed=2)
    return view.with_auxiliary(replace(view.auxiliary, inputs=own.numpy(), labels=labels.numpy()))


def score(attack, view, n=64):
    images, _ = pictures(n, seed=4)
    attack.fit(view)
    return float((attack.invert(head()(images)) - images).square().mean())


def test_the_shadow_shows_more_than_the_class(seen):
    attack = QueryFree(epochs=30, shadow="3x3x6", options={"iterations": 60, "lr": (0.1,), "tv": (0.1,)})
    floor, classes_alone = score(MeanImage(), seen), score(attack, seen, n=16)
    assert classes_alone < 0.8 * floor
    assert score(attack, seen) < 0.6 * classes_alone


def test_a_shadow_of_nothing_leaves_the_class(seen, monkeypatch):
    monkeypatch.setattr(
        QueryFree, "_shadow", lambda self, *arrived: nn.Conv2d(1, 6, 3, padding=1).requires_grad_(False)
    )
    attack = QueryFree(attack="nearest")
    assert score(attack, seen) < 0.9 * score(MeanImage(), seen)


def test_what_the_classes_do_not_bear_out_is_left_out():
    random = torch.Generator().manual_seed(0)
    says, means = torch.eye(4).repeat(10, 1), torch.randn(4, 50, generator=random)
    own = torch.randn(40, 50, generator=random)
    own -= torch.cat([own.reshape(10, 4, 50).mean(dim=0)] * 10)
    torch.testing.assert_close(_within(says @ means + own, says, means), own * 1.0, atol=0.05, rtol=0.1)
    assert (_within(says @ torch.randn(4, 50, generator=random) + own, says, means) == 0).all()
    assert (_within(torch.zeros(40, 50), says, means) == 0).all()


@pytest.mark.parametrize("smashed", [(8, 3, 3), (4, 4, 4), (40,), (5, 9), (3, 6, 6)])
@pytest.mark.parametrize("layers", ["", "5x5x4+p+3x3x{}"])
def test_a_shadow_has_the_shape_of_the_head(smashed, layers):
    shadow = build(layers.format(smashed[0]), IMAGE, smashed, positive=True)
    assert shadow(smooth_images(2, 0)).shape == (2, *smashed)
    assert shadow(smooth_images(2, 0)).min() >= 0


def test_layers_must_fit(seen):
    with pytest.raises(ConfigError, match="ends with 5 channels, and the smashed data has 6"):
        score(QueryFree(shadow="3x3x5"), seen)


def test_needs_classes(seen):
    unlabelled = replace(seen.auxiliary, labels=np.full(600, NO_CLASS))
    with pytest.raises(ConfigError, match="needs the classes"):
        QueryFree().fit(seen.with_auxiliary(unlabelled))


def test_needs_a_tail_that_answers_with_classes(make_view, private):
    view = replace(make_view(head(), access=Access.QUERY_FREE), _tail=nn.Identity())
    with pytest.raises(ConfigError, match="a number for each class"):
        error(QueryFree(), replace(view, _query=lambda images: head()(images)), private)
