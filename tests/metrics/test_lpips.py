import pytest
import torch

from cutlayer.errors import ConfigError
from cutlayer.metrics.lpips import _LAYERS, ALEX, SQUEEZE, _prepared
from cutlayer.metrics.weights import weights_root
from cutlayer.nets import _torchvision  # noqa: F401  # torchmetrics imports torchvision

from torchmetrics.functional.image.lpips import Alexnet, Vgg16, _NoTrainLpips  # isort: skip


def images(seed: int, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator), torch.rand(shape, generator=generator)


def test_the_published_weights_give_the_documented_scores():
    """The two examples in the documentation of torchmetrics, whose images are in [-1, 1]."""
    if SQUEEZE.weights.found() is None:
        pytest.skip(SQUEEZE.weights.missing())
    with torch.random.fork_rng():
        torch.manual_seed(123)
        x, y = torch.rand(10, 3, 100, 100), torch.rand(10, 3, 100, 100)
    assert SQUEEZE.score(x, y, y).mean().item() == pytest.approx(0.1008, abs=5e-5)
    x, y = images(42, 2, 3, 100, 100)
    assert SQUEEZE.score(x, y, y).tolist() == pytest.approx([0.1024, 0.0938], abs=5e-5)


def test_random_weights_give_the_score_of_torchmetrics(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = _NoTrainLpips(net="squeeze", pnet_rand=True)
    # Their keys begin with the number of the slice.
    weights = {key.split(".", 2)[2]: value for key, value in theirs.net.state_dict().items()}
    torch.save({f"features.{key}": value for key, value in weights.items()}, tmp_path / SQUEEZE.weights.names[-1])
    x, y = images(1, 3, 3, 40, 48)
    expected = theirs(x, y, normalize=True).flatten()
    assert SQUEEZE.score(x, y, y, weights_root=tmp_path).tolist() == pytest.approx(expected.tolist(), rel=1e-4)


@pytest.mark.parametrize(("kind", "network"), [("alex", Alexnet), ("vgg", Vgg16)])
def test_the_compared_layers_are_those_of_torchmetrics(kind, network):
    with torch.device("meta"):
        slices = [list(part._modules) for part in network(pretrained=False).children()]
    assert [int(names[-1]) for names in slices] == list(_LAYERS[kind][1])


def test_gray_is_three_equal_channels_and_small_images_are_enlarged():
    x, _ = images(0, 2, 1, 28, 56)
    assert torch.equal(_prepared(x), _prepared(x.expand(-1, 3, -1, -1)))
    assert _prepared(x).shape == (2, 3, 32, 64)
    assert _prepared(images(0, 2, 3, 32, 40)[0]).shape == (2, 3, 32, 40)


def test_a_missing_file_is_named_with_where_it_can_be_had(tmp_path):
    x, y = images(0, 1, 3, 32, 32)
    with pytest.raises(ConfigError, match=r"holds no alexnet_features\.npz or alexnet-owt.*--weights-root.*https://"):
        ALEX.score(x, y, y, weights_root=tmp_path)


def test_a_damaged_file_and_one_of_another_network_are_named(tmp_path):
    x, y = images(0, 1, 3, 32, 32)
    path = tmp_path / ALEX.weights.names[0]
    path.write_bytes(b"PK nothing")
    with pytest.raises(ConfigError, match=r"alexnet_features\.npz cannot be read as weights.*fetch it again"):
        ALEX.score(x, y, y, weights_root=tmp_path)
    path.unlink()
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / ALEX.weights.names[1])
    with pytest.raises(ConfigError, match="does not hold the features of torchvision's alexnet"):
        ALEX.score(x, y, y, weights_root=tmp_path)


def test_the_root_is_the_argument_then_the_environment_then_a_folder_in_that_of_the_data(monkeypatch, tmp_path):
    monkeypatch.setenv("CUTLAYER_DATA", "/data")
    monkeypatch.delenv("CUTLAYER_WEIGHTS", raising=False)
    assert str(weights_root()) == "/data/weights"
    monkeypatch.setenv("CUTLAYER_WEIGHTS", "/weights")
    assert str(weights_root()) == "/weights"
    assert weights_root(tmp_path) == tmp_path
