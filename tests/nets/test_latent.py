import pytest
import torch
from torch import Tensor, nn

from cutlayer.nets import latent
from cutlayer.nets.latent import PULL, Prior


class Linear(nn.Module):
    """A generator of 1x4x4 images that is linear, so that the search has a closed form."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)

    def forward(self, z: Tensor) -> Tensor:
        return (z @ self.matrix.T).view(-1, 1, 4, 4)


def response(matrix: Tensor) -> Tensor:
    """The matrix that leads from smashed data to z* where head and generator are linear."""
    pixels, latent = matrix.shape
    return torch.linalg.solve(matrix.T @ matrix / pixels + PULL / latent * torch.eye(latent), matrix.T / pixels)


@pytest.fixture
def prior():
    prior = Prior(3, 2, (1, 4, 4), (1, 4, 4))
    spread = torch.tensor([1.0, 0.8, 0.6])
    columns = torch.linalg.qr(torch.randn(16, 3, generator=torch.Generator().manual_seed(0)))[0]
    prior.generator = Linear(columns * spread)
    # L = ||A z - v||^2 / 16 + pull * ||z||^2 / 3
    prior.curvature.fill_(1 / 8 + 2 * PULL / 3)
    return prior.eval().requires_grad_(False)


def test_the_search_finds_the_nearest_image_that_the_generator_can_make(prior):
    smashed = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    z = prior.search(nn.Identity(), smashed, torch.zeros(5, 3), 200)
    torch.testing.assert_close(z, smashed.flatten(1) @ response(prior.generator.matrix).T, rtol=1e-3, atol=1e-4)


def test_each_vector_is_searched_as_it_would_be_alone(prior):
    smashed = torch.randn(3, 1, 4, 4)
    together = prior.search(nn.Identity(), smashed, torch.ones(3, 3), 5)
    alone = [prior.search(nn.Identity(), smashed[i : i + 1], torch.ones(1, 3), 5) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_the_curvature_is_the_greatest_eigenvalue_of_the_hessian(prior):
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    curvature = latent.curvature(prior, nn.Identity(), z, prior.generator(z), rounds=40)
    assert curvature.item() == pytest.approx(1 / 8 + 2 * PULL / 3, rel=1e-3)


def test_what_is_learned_inverts_the_head_it_was_learned_for():
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(200, 1, 2, 2, generator=random)
    images = nn.functional.interpolate(coarse, (8, 8), mode="bilinear").contiguous()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU()).eval()
    state = torch.random.get_rng_state()
    prior = latent.learned(head, images, (4, 4, 4), latent=4, width=8, steps=120, seed=0)
    assert torch.equal(torch.random.get_rng_state(), state)
    with torch.no_grad():
        smashed = head(images[:50])
        errors = [(images[:50] - images.mean(0)).square().mean()]
        start = prior.amortizer(smashed)
        errors.append((prior.generator(start) - images[:50]).square().mean())
    z = prior.search(head, smashed, start, 50)
    errors.append((prior.generator(z) - images[:50]).square().mean())
    assert errors[1] < 0.6 * errors[0]
    assert errors[2] < 0.3 * errors[0]
    assert prior.loss(head, z, smashed).mean() < prior.loss(head, start, smashed).mean()


def test_a_prior_is_learned_once_and_handed_out_as_copies(monkeypatch):
    images = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    head = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1)).eval().requires_grad_(False)
    size = {"smashed": (2, 8, 8), "latent": 3, "width": 2, "steps": 2}
    first = latent.learned(head, images, seed=0, **size)
    other = latent.learned(head, images, seed=1, **size)
    monkeypatch.setattr(latent.wgan, "fit", None)
    again = latent.learned(head, images, seed=0, **size)
    assert again is not first
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in first.state_dict().items())
    assert not all(torch.equal(value, other.state_dict()[name]) for name, value in first.state_dict().items())
    head[0].weight.mul_(2)
    with pytest.raises(TypeError):
        latent.learned(head, images, seed=0, **size)
