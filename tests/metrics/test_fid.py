import math

import pytest
import torch

from cutlayer.errors import ConfigError
from cutlayer.metrics.fid import FID, architecture, features, frechet_distance
from cutlayer.nets import _torchvision  # noqa: F401  # piq imports torchvision


def test_the_distance_of_two_numbers_is_that_of_their_means_and_deviations():
    a, b = torch.tensor([[0.0], [2.0], [4.0]]), torch.tensor([[1.0], [5.0], [9.0]])
    # Means 2 and 5, standard deviations 2 and 4: 3^2 + 2^2.
    assert frechet_distance(a, b).item() == pytest.approx(13)
    assert frechet_distance(a, a).item() == pytest.approx(0, abs=1e-9)


def test_independent_numbers_add_and_dependent_ones_do_not():
    x = torch.tensor([-1.0, 1.0, -1.0, 1.0, 0.0])
    y = torch.tensor([-1.0, -1.0, 1.0, 1.0, 0.0])
    apart, equal = torch.stack([x, y], 1), torch.stack([x, x], 1)
    # Covariances I and [[1, 1], [1, 1]]: the traces are 2 and 2, and the root of the product has the trace sqrt(2).
    assert frechet_distance(apart, equal).item() == pytest.approx(4 - 2 * math.sqrt(2))
    assert frechet_distance(3 * apart, apart).item() == pytest.approx(2 * (3 - 1) ** 2)


@pytest.mark.parametrize(("n", "m"), [(60, 60), (5, 5), (60, 5)])
def test_any_number_of_samples_gives_the_distance_of_torchmetrics(n, m):
    from torchmetrics.image.fid import _compute_fid

    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(k, 8, generator=generator, dtype=torch.double) for k in (n, m))
    b = b * 2 + 1
    expected = _compute_fid(a.mean(0), a.T.cov(), b.mean(0), b.T.cov())
    assert frechet_distance(a, b).item() == pytest.approx(expected.item(), rel=1e-6)


def test_one_image_has_no_covariance():
    image = torch.rand(1, 3, 8, 8)
    assert FID.measure(image, image, weights=None).isnan()


def test_the_features_are_those_of_piq(monkeypatch):
    from piq.feature_extractors import InceptionV3

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = architecture().to_empty(device="cpu").eval()
        for parameter in [*network.parameters(), *network.buffers()]:
            if parameter.is_floating_point():
                parameter.data = torch.rand(parameter.shape) * (0.1 if parameter.dim() < 2 else 0.01) + 0.001
        images = torch.rand(2, 1, 28, 28)
    monkeypatch.setattr(InceptionV3, "fid_inception_v3", staticmethod(lambda: network))
    theirs = InceptionV3().eval()(images.expand(-1, 3, -1, -1))[0].flatten(1)
    network.fc = torch.nn.Identity()
    ours = features(network, images)
    assert ours.shape == (2, 2048)
    assert ours.std() > 0
    assert torch.allclose(ours, theirs, rtol=1e-4)


def test_other_weights_are_refused(tmp_path):
    images = torch.rand(2, 3, 8, 8)
    torch.save({"fc.weight": torch.zeros(3)}, tmp_path / FID.weights.names[0])
    with pytest.raises(ConfigError, match="does not hold the weights of FID's Inception network"):
        FID.score(images, images, images, weights_root=tmp_path)
