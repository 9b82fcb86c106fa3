import pytest
import torch
from torch import nn

from cutlayer.errors import SplitError
from cutlayer.models.cut import find_cut
from cutlayer.models.cuts import cuts
from cutlayer.models.zoo import build
from cutlayer.spec import TensorSpec, image_spec


@pytest.fixture(scope="module")
def lenet():
    image = image_spec(1, 28, 28)
    return cuts(build("he_lenet", image, 10), image)


@pytest.fixture(scope="module")
def resnet():
    image = image_spec(3, 64, 64)
    return cuts(build("resnet18", image, 10), image)


def test_every_layer_of_a_chain_is_a_cut_but_input_and_output(lenet):
    assert [cut.name for cut in lenet] == [
        "normalize", "conv1", "ReLU1", "pool1", "conv2", "ReLU2", "pool2", "flatten", "fc1", "fc1act", "fc2", "fc2act",
    ]  # fmt: skip


def test_what_a_cut_costs(lenet):
    cut = find_cut(lenet, "ReLU2")
    assert cut.shape == (16, 8, 8)
    assert cut.nbytes == 4096
    assert cut.params == (8 * 25 + 8) + (16 * 8 * 25 + 16)
    assert cut.macs == 24 * 24 * 8 * 25 + 8 * 8 * 16 * 8 * 25


def test_cost_counts_attention():
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.last = nn.Linear(8, 8)

        def forward(self, x):
            return self.last(self.attention(x, x, x, need_weights=False)[0])

    (cut,) = cuts(Attending(), TensorSpec((5, 8)))
    assert cut.macs == 4 * 8 * 8 * 5 + 2 * 5 * 5 * 8


def test_shared_parameters_count_once():
    layer = nn.Linear(3, 3, bias=False)
    chain = cuts(nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU()), TensorSpec((3,)))
    assert [cut.params for cut in chain] == [9, 9, 9]


def test_blocks_are_cuts_by_the_name_of_their_module(resnet):
    names = [cut.name for cut in resnet]
    assert {"layer1.0", "layer1.1", "layer4.0"} < set(names)
    assert not any("layer1.0.conv" in name for name in names)


@pytest.mark.parametrize("alias", ["layer1.1", "layer1", "layer1_1_relu_1"])
def test_a_cut_is_found_by_any_module_that_ends_there(resnet, alias):
    assert find_cut(resnet, alias).name == "layer1.1"


def test_a_module_that_is_called_twice_names_no_cut(resnet):
    assert "layer1.0.relu" not in [name for cut in resnet for name in (cut.name, *cut.aliases)]


def test_an_unknown_cut_is_answered_with_near_ones(resnet):
    with pytest.raises(SplitError, match=r"cannot be cut at 'layer1.9'; did you mean .*layer1\.[01]"):
        find_cut(resnet, "layer1.9")


def test_names_are_unique(resnet, lenet):
    for model in (resnet, lenet):
        names = [name for cut in model for name in (cut.name, *cut.aliases)]
        assert len(names) == len(set(names))


def test_bounds_are_known_where_the_layer_tells(lenet, resnet):
    bounds = {cut.name: (cut.smashed.low, cut.smashed.high) for cut in lenet}
    assert bounds["normalize"] == (-1.0, 1.0)
    assert bounds["conv1"] == (None, None)
    assert bounds["ReLU1"] == bounds["pool1"] == bounds["fc2act"] == (0.0, None)
    assert find_cut(resnet, "layer2").smashed.low == 0.0


def test_what_is_not_one_batch_of_numbers_is_no_cut():
    class Turning(nn.Module):
        def forward(self, x):
            pair = x.relu().transpose(0, 1).chunk(2)
            return torch.cat(pair).transpose(0, 1).tanh()

    assert [cut.name for cut in cuts(Turning(), TensorSpec((4,)))] == ["relu", "transpose_1"]


def test_an_input_that_does_not_fit_is_refused():
    with pytest.raises(SplitError, match="cannot take an input of 5"):
        cuts(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), TensorSpec((5,)))
