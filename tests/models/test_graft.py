import copy

import pytest
import torch
from torch import nn

from cutlayer.models.cuts import cuts
from cutlayer.models.halves import copied, graft, join, split
from cutlayer.models.zoo import build
from cutlayer.spec import TensorSpec, image_spec

IMAGE = image_spec(3, 32, 32)
X = torch.rand(2, *IMAGE.shape)


@pytest.fixture(scope="module")
def halves():
    return split(build("vgg11_bn", IMAGE, 10), "features.7", IMAGE)


@pytest.mark.parametrize(
    ("name", "cut"), [("vgg11_bn", "features.7"), ("resnet20", "layer1.0"), ("mobilenet_v2", "features.4")]
)
def test_the_joined_halves_are_the_model_and_can_be_cut_anywhere_again(name, cut, lively):
    model = copy.deepcopy(lively(name, IMAGE))
    whole = join(split(model, cut, IMAGE))
    torch.testing.assert_close(whole(X), model(X), rtol=1e-5, atol=1e-5)
    assert {*whole.state_dict()} == {*model.state_dict()}
    assert all(whole.state_dict()[key] is not None for key in whole.state_dict())
    assert {id(p) for p in whole.parameters()} == {id(p) for p in model.parameters()}
    assert [c.name for c in cuts(whole, IMAGE)] == [c.name for c in cuts(model, IMAGE)]


def test_a_graft_goes_to_the_end_of_the_head_and_the_start_of_the_tail(halves):
    before = halves.head(X), halves.tail(halves.head(X))
    narrow, wide = nn.Conv2d(128, 8, 3, stride=2, padding=1), nn.ConvTranspose2d(8, 128, 4, stride=2, padding=1)
    grafted = graft(halves, "bottleneck", to_head=narrow, to_tail=wide)
    assert grafted.smashed == TensorSpec((8, 4, 4))
    torch.testing.assert_close(grafted.head(X), narrow(before[0]))
    torch.testing.assert_close(grafted.tail(grafted.head(X)), halves.tail(wide(narrow(before[0]))))
    assert {"bottleneck.weight", "bottleneck.bias"} <= {*grafted.head.state_dict()} & {*grafted.tail.state_dict()}
    torch.testing.assert_close(halves.tail(halves.head(X)), before[1], rtol=0, atol=0)


def test_a_second_graft_of_that_name_leaves_the_first_in_its_place(halves):
    first = graft(halves, "bottleneck", to_head=nn.Conv2d(128, 8, 1), to_tail=nn.Conv2d(8, 128, 1))
    again = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
    second = graft(first, "bottleneck", to_head=again[0], to_tail=again[1])
    torch.testing.assert_close(second.head(X), again[0](first.head(X)))
    torch.testing.assert_close(second.tail(second.head(X)), first.tail(again[1](second.head(X))))
    torch.testing.assert_close(join(second)(X), second.tail(second.head(X)))


def test_a_graft_that_bounds_the_smashed_data_is_known_to(halves):
    assert halves.smashed.high is None
    assert graft(halves, "bound", to_head=nn.Tanh()).smashed == TensorSpec(halves.smashed.shape, "float32", -1.0, 1.0)


def test_copies_share_nothing(halves):
    twin = copied(halves)
    for a, b in ((halves.head, twin.head), (halves.tail, twin.tail)):
        assert not {p.data_ptr() for p in a.parameters()} & {p.data_ptr() for p in b.parameters()}
        assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
