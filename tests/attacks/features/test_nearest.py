import pytest
import torch

from cutlayer.attacks.features.nearest import Nearest
from tests.attacks.victims import linear_head


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_finds_an_image_that_it_holds(metric, make_view):
    view, attack = make_view(linear_head()), Nearest(metric=metric)
    attack.fit(view)
    held = torch.from_numpy(view.auxiliary.inputs[[3, 70, 399]])
    assert torch.equal(attack.invert(view.query(held)), held)


def test_the_cosine_ignores_scale(make_view):
    view, attack = make_view(linear_head()), Nearest(metric="cosine")
    attack.fit(view)
    held = torch.from_numpy(view.auxiliary.inputs[:5])
    assert torch.equal(attack.invert(3 * view.query(held)), held)


def test_agrees_with_the_plain_definition(make_view, private):
    view, attack = make_view(linear_head(rows=9)), Nearest()
    attack.fit(view)
    held = torch.from_numpy(view.auxiliary.inputs)
    nearest = torch.cdist(view.query(private), view.query(held)).argmin(dim=1)
    assert torch.equal(attack.invert(view.query(private)), held[nearest])
