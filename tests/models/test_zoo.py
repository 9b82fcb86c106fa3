import re

import pytest
import torch

from cutlayer.data.modality import TABLE, inputs_like
from cutlayer.errors import ConfigError
from cutlayer.models.zoo import build
from cutlayer.spec import image_spec, token_spec


def test_the_seed_draws_the_weights_and_the_global_generator_is_left_alone():
    before = torch.random.get_rng_state()
    first, same, other = (build("he_lenet", image_spec(1, 28, 28), 10, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first.conv1.weight, same.conv1.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)


def test_normalization_comes_first():
    model = build("resnet20", image_spec(3, 32, 32), 10)
    image, first = list(model.graph.nodes)[:2]
    assert first.target == "normalize"
    assert set(image.users) == {first}
    assert model.normalize(torch.tensor([0.0, 0.5, 1.0]).expand(3, 1, 3))[0, 0].tolist() == [-1.0, 0.0, 1.0]


@pytest.mark.parametrize("name", ["he_lenet", "resnet20", "vgg11_bn", "mobilenet_v3_small"])
@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_any_number_of_channels(name, channels):
    images = torch.rand(2, channels, 32, 32)
    assert build(name, image_spec(*images.shape[1:]), 7)(images).shape == (2, 7)


def test_vgg_is_small_for_small_images_and_torchvisions_for_large_ones():
    # Shapes need no memory, and torchvision's classifier is 120 million weights.
    with torch.device("meta"):
        small, large = (build("vgg11_bn", image_spec(3, side, side), 10) for side in (64, 65))
    assert small.classifier.get_submodule("1").weight.shape == (512, 512)
    assert large.classifier.get_submodule("0").weight.shape == (4096, 25088)
    features = [
        [(n, m.weight.shape) for n, m in v.features.named_modules() if hasattr(m, "weight")] for v in (small, large)
    ]
    assert features[0] == features[1]


def test_he_layers_have_the_papers_shapes():
    lenet = build("he_lenet", image_spec(1, 28, 28), 10)
    assert lenet.fc1.in_features == 256
    cnn = build("he_cifar10cnn", image_spec(3, 32, 32), 10)
    assert cnn.fc1.in_features == 2048


def test_resnet20_has_the_papers_number_of_parameters():
    model = build("resnet20", image_spec(3, 32, 32), 10)
    assert sum(p.numel() for p in model.parameters()) == 269722


@pytest.mark.parametrize("name", ["mlp", "resnet18", "ft_transformer", "text_transformer"])
def test_inputs_of_another_kind_are_refused_with_the_models_that_take_them(name):
    kinds = {
        "sentences": (token_spec(32, 500), "text_transformer, text_gpt and hf/FOLDER"),
        "rows of a table": (TABLE.spec(13), "mlp, ft_transformer"),
        "images": (image_spec(3, 32, 32), "he_lenet, .*, mlp, .*"),
    }
    takes = {"mlp": {"rows of a table", "images"}, "resnet18": {"images"}, "ft_transformer": {"rows of a table"}}
    for kind in kinds.keys() - takes.get(name, {"sentences"}):
        spec, able = kinds[kind]
        message = rf"^{name} cannot take {re.escape(inputs_like(spec))}; models of {kind} are {able}\.$"
        with pytest.raises(ConfigError, match=message):
            build(name, spec, 3)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("he_lenet", (1, 8, 8)),
        ("he_cifar10cnn", (3, 4, 4)),
        ("vgg11_bn", (1, 28, 28)),
        ("vit_b_16", (3, 33, 33)),
        ("vit_b_16", (3, 32, 48)),
    ],
)
def test_images_that_do_not_fit_are_refused_in_one_line(name, shape, capfd):
    with pytest.raises(ConfigError, match=rf"^{name} cannot take images of {image_spec(*shape)}: .+$"):
        build(name, image_spec(*shape), 10)
    assert capfd.readouterr() == ("", "")


def test_an_unknown_name_is_answered_with_near_ones():
    with pytest.raises(ConfigError, match="resnet18"):
        build("resnet17", image_spec(3, 32, 32), 10)
