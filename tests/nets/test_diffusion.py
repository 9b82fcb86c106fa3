import pytest
import torch

from cutlayer.nets.diffusion import Denoiser, scales


def test_noise_grows_from_nothing_to_all_and_the_variance_stays():
    alpha, sigma = scales(torch.linspace(0, 1, 9))
    torch.testing.assert_close(alpha.square() + sigma.square(), torch.ones(9))
    assert (alpha[0], sigma[0]) == (pytest.approx(1, abs=1e-6), pytest.approx(0, abs=1e-3))
    assert (alpha[-1], sigma[-1]) == (pytest.approx(0, abs=1e-6), pytest.approx(1, abs=1e-6))
    assert (alpha.diff() < 0).all()


@pytest.mark.parametrize("image", [(1, 6, 6), (3, 28, 28), (3, 32, 32), (3, 7, 12)])
def test_the_denoiser_keeps_the_size_of_any_image(image):
    network = Denoiser(image, 4).eval()
    assert network(torch.randn(2, *image), torch.tensor([0.1, 0.9])).shape == (2, *image)


def test_it_is_told_the_time():
    network, x = Denoiser((3, 8, 8), 4).eval(), torch.randn(2, 3, 8, 8)
    for block in (network.middle, *network.up):
        torch.nn.init.normal_(block.second.weight, std=0.1)  # they begin at zero, which hides the modulation
    early, late = (network(x, torch.full((2,), t)) for t in (0.1, 0.9))
    assert not torch.allclose(early, late, atol=1e-3)
