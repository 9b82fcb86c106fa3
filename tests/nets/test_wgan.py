import pytest
import torch
from torch import nn
from torch.nn import functional

from cutlayer.nets import wgan


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def shades(n=200, seed=0):
    """Flat images, of which one number says all."""
    return torch.rand(n, 1, 1, 1, generator=drawn(seed)).expand(n, 1, 8, 8).contiguous()


@pytest.mark.parametrize("image", [(1, 6, 6), (1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 56, 46)])
def test_any_image_size(image):
    generator, critic = wgan.generator(5, 2, image), wgan.critic(2, image)
    generated = generator(torch.randn(3, 5))
    assert generated.shape == (3, *image)
    assert generated.min() >= 0
    assert generated.max() <= 1
    assert critic(generated).shape == (3, 1)


def test_the_penalty_is_that_of_the_gradients_norm_and_reaches_the_critic():
    """A linear critic of slope s along every pixel has a gradient of norm s * sqrt(pixels) everywhere."""
    critic = nn.Sequential(nn.Flatten(), nn.Linear(64, 1, bias=False))
    for slope, penalty in ((1 / 8, 0.0), (3 / 8, 4.0)):
        nn.init.constant_(critic[1].weight, slope)
        computed = wgan.gradient_penalty(critic, shades(4), shades(4, 1), drawn())
        assert computed.item() == pytest.approx(penalty, abs=1e-5)
    computed.backward()
    assert critic[1].weight.grad.sum() > 0


def test_the_critic_learns_to_score_what_is_real_higher():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        critic = wgan.critic(4, (1, 8, 8))
    optimizer = torch.optim.Adam(critic.parameters(), 1e-2)
    bright, dark = 0.5 + shades(32) / 2, shades(32, 1) / 2
    for _ in range(60):
        wgan.critic_step(critic, optimizer, bright, dark, drawn())
    assert critic(bright).mean() > critic(dark).mean() + 2


def test_codes_are_white_tell_the_images_apart_and_fill_up_with_noise():
    images = torch.rand(300, 1, 8, 8, generator=drawn())
    codes = wgan.codes(images, 6, drawn())
    assert torch.allclose(codes.T @ codes / 299, torch.eye(6), atol=0.02)
    flat = wgan.codes(shades(300), 6, drawn())
    correlation = torch.corrcoef(torch.cat([flat.T, shades(300)[:, 0, 0, :1].T]))[-1, :-1].abs()
    assert correlation.max() > 0.99
    assert correlation.sort().values[-2] < 0.2
    assert torch.allclose(flat.std(0), torch.ones(6), atol=0.15)


def test_a_trained_generator_makes_images_like_those_it_was_shown():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = wgan.generator(3, 4, (1, 8, 8)), wgan.critic(4, (1, 8, 8))
    images = 0.1 + 0.2 * shades()
    wgan.fit(networks, images, latent=3, steps=160, seed=0)
    with torch.no_grad():
        generated = networks[0](wgan.normal(200, 3, drawn(5), torch.device("cpu")))
    assert not any(network.training for network in networks)
    assert abs(generated.mean() - images.mean()) < 0.05
    assert 0.5 < generated.mean((1, 2, 3)).std() / images.mean((1, 2, 3)).std() < 2
    assert functional.mse_loss(generated.mean((2, 3), keepdim=True).expand_as(generated), generated) < 0.002


def test_no_steps_change_nothing():
    networks = wgan.generator(3, 2, (1, 8, 8)), wgan.critic(2, (1, 8, 8))
    before = [p.clone() for network in networks for p in network.parameters()]
    wgan.fit(networks, shades(), latent=3, steps=0, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(before, (p for n in networks for p in n.parameters()), strict=True))
