"""Models of one's own: how they are built, traced, normalized and cut, and weights from files."""

import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cutlayer.data.load import data_root
from cutlayer.errors import ConfigError, SplitError
from cutlayer.models import folder, zoo
from cutlayer.models.cuts import cuts
from cutlayer.models.halves import split
from cutlayer.models.start import Start
from cutlayer.models.weights import load_weights, read
from cutlayer.spec import image_spec
from cutlayer.split_folder import open_split

SMALL = image_spec(1, 16, 16)
MINE = '''
import torch
from torch import nn

from cutlayer.spec import TensorSpec, image_spec


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        if x.shape[-1] >= 8:
            x = self.conv(x)
        return torch.relu(x)


class Net(nn.Module):
    """torch.fx cannot trace it, and the size of the batch is read from the input."""

    def __init__(self, num_classes=2):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.gate = Gate()
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(4 * 256, num_classes)

    def forward(self, x):
        b = x.shape[0]
        x = self.gate(self.stem(x))
        x += 1
        if x.dim() != 4:
            raise ValueError("no image")
        return self.fc(self.drop(x).reshape(b, -1))


class Undecided(Net):
    def forward(self, x):
        if x.mean() > 0:
            x = x * 2
        return super().forward(x)


class Needy(Net):
    def __init__(self, width):
        super().__init__()


def sized(input: TensorSpec = image_spec(1, 12, 12), classes=3):
    return nn.Sequential(nn.Conv2d(input.shape[0], 2, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(classes))


def nothing():
    return None


normalized = nn.Sequential(nn.Flatten(), nn.Linear(256, 2))
number = 3
'''


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    path = tmp_path_factory.mktemp("mine") / "mine.py"
    path.write_text(MINE)
    return path


@pytest.fixture
def net(mine):
    return f"{mine}:Net"


def images(n=3, spec=SMALL):
    return torch.rand(n, *spec.shape, generator=torch.Generator().manual_seed(n))


def test_a_model_that_torch_fx_cannot_trace_is_cut_at_its_modules(net):
    model = zoo.build(net, SMALL, 2)
    names = [cut.name for cut in cuts(model, SMALL)]
    assert names == ["stem.0", "stem.1", "stem.2", "gate.conv", "gate", "add_", "drop", "reshape"]
    assert {name for name, _ in model.named_parameters()} == {
        f"{layer}.{kind}" for layer in ("stem.0", "stem.1", "gate.conv", "fc") for kind in ("weight", "bias")
    }
    halves = split(model, "gate", SMALL)
    assert halves.smashed.low == 0.0
    for batch in (1, 3):
        torch.testing.assert_close(halves.tail(halves.head(images(batch))), model(images(batch)))


def test_what_torch_export_traced_still_has_a_mode(net):
    model = zoo.build(net, SMALL, 2)
    counted = model.get_submodule("stem.1").num_batches_tracked
    model.train()
    assert not torch.equal(model(images()), model(images())), "dropout is on"
    assert counted == 2
    model.eval()
    assert torch.equal(model(images()), model(images()))


def test_the_smashed_data_stays_as_it_arrived(net):
    halves = split(zoo.build(net, SMALL, 2), "gate", SMALL)
    smashed = halves.head(images())
    before = smashed.clone()
    halves.tail(smashed)
    assert torch.equal(smashed, before)


def test_a_line_that_decides_by_values_is_named(mine):
    with pytest.raises(SplitError, match=r"line 40 of .*mine\.py \(`if x\.mean\(\) > 0:`\).*torch\.where.*the part of"):
        zoo.build(f"{mine}:Undecided", SMALL, 2)


@pytest.mark.parametrize(
    ("attribute", "words"),
    [
        ("Needy", r"needs width, which nobody states.*`classes`, `num_classes` and `input`"),
        ("nothing", r"is no model: it returns None, and no nn\.Module"),
        ("number", r"is no model: it must be an nn\.Module, or return one, and is 3"),
        ("normalized", r"cannot take images of 1x16x16: it gives \(2,\) for one of them instead of 5 logits"),
    ],
)
def test_what_is_no_model_is_refused(mine, attribute, words):
    with pytest.raises(ConfigError, match=words):
        zoo.build(f"{mine}:{attribute}", SMALL, 5)


def test_functions_classes_and_modules_are_models(mine):
    assert zoo.default_input(f"{mine}:sized") == image_spec(1, 12, 12)
    assert zoo.build(f"{mine}:sized", image_spec(3, 8, 8), 4)(torch.zeros(1, 3, 8, 8)).shape == (1, 4)
    assert zoo.n_classes(zoo.build(f"{mine}:normalized", SMALL), SMALL) == 2
    with pytest.raises(ConfigError, match="does not say which inputs it takes"):
        zoo.default_input(f"{mine}:normalized")
    one, other = (zoo.build(f"{mine}:normalized", SMALL) for _ in range(2))
    nn.init.zeros_(one.get_parameter("1.weight"))
    assert other.get_parameter("1.weight").any(), "the module of the file stays as it is"


def test_images_come_as_they_are_unless_a_normalization_is_named(mine):
    name = f"{mine}:normalized"
    plain, shifted = zoo.build(name, SMALL), zoo.build(name, SMALL, start=Start(mean=(0.25,), std=(0.5,)))
    torch.testing.assert_close(shifted(images()), plain((images() - 0.25) / 0.5))
    with pytest.raises(ConfigError, match=r"mean must be one number, or one for each channel \(1\); 3 were given"):
        zoo.build(name, SMALL, start=Start(mean=(0.1, 0.2, 0.3)))


def test_a_split_folder_of_an_own_model_is_rebuilt(net, mine, tmp_path):
    model = zoo.build(net, SMALL, 2, start=Start(mean=(0.25,), std=(0.5,)))
    manifest = folder.save(
        tmp_path / "split", split(model, "gate", SMALL), model=net, classes=2, defense={"name": "none"}, data=None
    )
    assert (manifest.mean, manifest.std, [*manifest.sources]) == ((0.25,), (0.5,), [net])
    opened = open_split(tmp_path / "split")
    halves = opened.halves()
    torch.testing.assert_close(halves.tail(halves.head(images())), model(images()))
    np.testing.assert_allclose(opened.model()(images().numpy()), model(images()).detach().numpy(), atol=1e-5)


# Weights


def resnet():
    return zoo.MODELS.load("resnet20")()


@pytest.mark.parametrize("wrap", ["plain", "state_dict", "model", "model_state_dict", "nested"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_a_state_dict_is_found_under_wrappers_and_prefixes(tmp_path, wrap, prefix):
    source, target = resnet(), resnet()
    state = {f"{prefix}{key}": value for key, value in source.state_dict().items()}
    stored = {
        "plain": state,
        "nested": {"epoch": 3, "model": {"state_dict": state}},
    }.get(wrap, {"epoch": 3, "optimizer": {"state": {}}, wrap: state})
    torch.save(stored, tmp_path / "weights.pth")
    load_weights(target, tmp_path / "weights.pth")
    assert all(
        torch.equal(a, b) for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    )


def test_safetensors_are_read(tmp_path):
    source, target = resnet(), resnet()
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    load_weights(target, tmp_path / "weights.safetensors")
    assert torch.equal(source.fc.weight, target.fc.weight)


def test_the_last_layer_may_have_another_name_and_batches_need_not_be_counted(tmp_path):
    source, target = resnet(), resnet()
    state = {
        key.replace("fc.", "linear."): value
        for key, value in source.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    torch.save(state, tmp_path / "weights.th")
    load_weights(target, tmp_path / "weights.th")
    assert torch.equal(source.fc.weight, target.fc.weight)


def test_what_does_not_fit_is_named(tmp_path):
    state = resnet().state_dict()
    state["extra.weight"] = state.pop("conv1.weight")
    state["fc.bias"] = torch.zeros(7)
    torch.save(state, tmp_path / "weights.pt")
    words = (
        r"does not fit _ResNet: it lacks conv1\.weight; the model has no extra\.weight; "
        r"other shapes: fc\.bias \(7 in the file, 10 in the model\)\. Name the model, and its --classes"
    )
    with pytest.raises(ConfigError, match=words):
        load_weights(resnet(), tmp_path / "weights.pt")


def test_a_file_that_would_run_code_is_refused(tmp_path):
    torch.save(resnet(), tmp_path / "whole.pth")
    with pytest.raises(ConfigError, match=r"holds more than weights, and loading that would run its code\. Write"):
        read(tmp_path / "whole.pth")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.pth", None, "There is no file"),
        ("noise.pth", b"noise", "cannot be read as weights|holds more than weights"),
        ("noise.safetensors", b"noise", "cannot be read as weights"),
        ("other.pth", {"loss": 3.0, "epoch": 2}, "holds a dictionary of loss, epoch, and no state dict"),
    ],
)
def test_a_file_without_weights_is_refused(tmp_path, name, content, words):
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        torch.save(content, tmp_path / name)
    with pytest.raises(ConfigError, match=words):
        read(tmp_path / name)


def test_the_halves_that_ressfl_stores_are_one_model_again(tmp_path):
    spec = image_spec(3, 32, 32)
    source = zoo.MODELS.load("vgg11_bn")(spec, 10)
    features, at = list(source.features), 7
    parts = {
        "client": nn.Sequential(*features[:at]), "cloud": nn.Sequential(*features[at:]), "classifier": source.classifier
    }  # fmt: skip
    for part, module in parts.items():
        for epoch in ("50", "best"):
            state = module.state_dict() if epoch == "best" else {k: 0 * v for k, v in module.state_dict().items()}
            torch.save(state, tmp_path / f"checkpoint_{part}_{epoch}.tar")
    built = zoo.build("vgg11_bn", spec, 10, start=Start(str(tmp_path)))
    mean = torch.tensor([0.4914, 0.4822, 0.4465])[:, None, None]
    std = torch.tensor([0.247, 0.243, 0.261])[:, None, None]
    given = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(built(given), source.eval()((given - mean) / std))
    (tmp_path / "checkpoint_cloud_50.tar").unlink()
    (tmp_path / "checkpoint_cloud_best.tar").unlink()
    with pytest.raises(ConfigError, match=r"has no file checkpoint_cloud_\*\.tar"):
        zoo.build("vgg11_bn", spec, 10, start=Start(str(tmp_path)))


def test_torchvisions_own_weights_bring_their_own_normalization(tmp_path):
    from cutlayer.nets._torchvision import models

    source = models.mobilenet_v3_small(weights=None, num_classes=10)
    torch.save(source.state_dict(), tmp_path / "mobilenet_v3_small-047dcff4.pth")
    spec = image_spec(3, 64, 64)
    built = zoo.build("mobilenet_v3_small", spec, 10, start=Start(str(tmp_path / "mobilenet_v3_small-047dcff4.pth")))
    preset = models.MobileNet_V3_Small_Weights.DEFAULT.transforms()
    given = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(values)[:, None, None] for values in (preset.mean, preset.std))
    torch.testing.assert_close(built(given), source.eval()((given - mean) / std))


def test_a_model_of_timm_is_cut_and_takes_its_own_weights(tmp_path):
    from cutlayer.nets import _torchvision  # noqa: F401

    timm = pytest.importorskip("timm", reason="timm is not installed")
    source = timm.create_model("resnet18", num_classes=10).eval()
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    spec = image_spec(3, 64, 64)
    built = zoo.build("timm/resnet18", spec, 10, start=Start(str(tmp_path / "weights.pth")))
    mean, std = (torch.tensor(source.pretrained_cfg[key])[:, None, None] for key in ("mean", "std"))
    given = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(built(given), source((given - mean) / std))
    assert len(cuts(built, spec)) > 10
    transformer = zoo.build("timm/vit_tiny_patch16_224", image_spec(3, 32, 32), 10)
    assert {"blocks.0", "blocks.11"} <= {cut.name for cut in cuts(transformer, image_spec(3, 32, 32))}
    with pytest.raises(ConfigError, match="timm has no model 'resnet18x'; did you mean"):
        zoo.build("timm/resnet18x", spec, 10)


def test_without_timm_its_models_say_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match="The model 'timm/resnet18' cannot be used: timm is not installed"):
        zoo.build("timm/resnet18", image_spec(3, 32, 32), 10)


WEIGHTS = data_root() / "weights" / "resnet20-12fca82f.th"


@pytest.mark.skipif(not WEIGHTS.exists(), reason=f"{WEIGHTS.name} is not in the folder of the data sets")
def test_published_weights_give_their_published_accuracy():
    """pytorch_resnet_cifar10 by Yerlan Idelbayev states 91.73 % on the 10,000 test images of CIFAR-10."""
    from cutlayer import training
    from cutlayer.data.load import load

    model = zoo.build("resnet20", image_spec(3, 32, 32), 10, start=Start(str(WEIGHTS)))
    correct, n = training.accuracy(model, load("cifar10").test.take(2000))
    # The standard deviation of a share of 2,000 images is 0.6 points.
    assert abs(correct / n - 0.9173) < 0.02
