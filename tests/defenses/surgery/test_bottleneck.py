import pytest
import torch
from torch import nn

from cutlayer.defenses.surgery.bottleneck import Bottleneck, build, parse
from cutlayer.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "bottleneck"),
    [
        ("noRELU_C8S1", Bottleneck(channels=8, stride=1, kernel=3, relu=False)),
        ("norelu_C12S1", Bottleneck(channels=12, stride=1, kernel=3, relu=False)),
        ("C4S2", Bottleneck(channels=4, stride=2, kernel=3, relu=True)),
        ("C16", Bottleneck(channels=16, stride=1, kernel=3, relu=True)),
        ("noRELU_K5C2S4", Bottleneck(channels=2, stride=4, kernel=5, relu=False)),
    ],
)
def test_a_name_becomes_fields(name, bottleneck):
    assert parse(name) == bottleneck


@pytest.mark.parametrize(
    "name", ["", "noRELU", "8S1", "noRELU_C8S1x", "C8K3S1", "C0S1", "K4C8S1", "C8S3", "C8S0", "None", "RELU_C8S1"]
)
def test_a_name_that_cannot_be_read_is_refused(name):
    with pytest.raises(ConfigError):
        parse(name)


@pytest.mark.parametrize("name", ["noRELU_C2S1", "C2S1", "K5C2S1", "C2S2", "noRELU_K5C2S2", "noRELU_C2S4", "C2S4"])
@pytest.mark.parametrize("side", [(8, 8), (7, 5), (4, 9), (6, 10)])
def test_the_grid_shrinks_by_the_stride_and_gets_its_size_back(name, side):
    bottleneck = parse(name)
    to_head, to_tail = build(bottleneck, (3, *side))
    smashed = to_head(torch.randn(2, 3, *side))
    assert smashed.shape == (2, 2, *(-(-n // bottleneck.stride) for n in side))
    assert to_tail(smashed).shape == (2, 3, *side)
    for end in (to_head, to_tail):
        kinds = [type(module) for module in end.modules()]
        assert kinds.count(nn.ReLU) == (bottleneck.relu and kinds.count(nn.Conv2d) + kinds.count(nn.ConvTranspose2d))
        kernels = {m.kernel_size for m in end.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)}
        assert kernels == {(bottleneck.kernel, bottleneck.kernel)}


@pytest.mark.parametrize("smashed", [(64,), (49, 64), (8, 2, 8)])
def test_smashed_data_that_cannot_be_narrowed_is_refused(smashed):
    with pytest.raises(ConfigError, match=r"bottleneck needs|stride of a bottleneck"):
        build(parse("C8S4"), smashed)
