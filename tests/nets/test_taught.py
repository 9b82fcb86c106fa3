"""Networks of priors: critics that see patches or know answers, and diffusion that knows classes."""

import torch

from cutlayer.nets.class_diffusion import denoised, guided, learned_denoiser
from cutlayer.nets.diffusion import Denoiser
from cutlayer.nets.informed import learned_informed
from cutlayer.nets.patches import PatchCritic


def images(n=48):
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 2
    x = 0.2 + 0.1 * torch.rand(n, 1, 8, 8, generator=random)
    x[labels == 0, :, :4] += 0.6
    x[labels == 1, :, 4:] += 0.6
    return x, labels


def test_a_patch_critic_knows_texture_and_nothing_of_layout():
    torch.manual_seed(0)
    stripes = torch.zeros(8, 1, 16, 16)
    stripes[..., ::2] = 1
    flat, critic = torch.full((8, 1, 16, 16), 0.5), PatchCritic(4, (1, 16, 16), 0.25)
    for _ in range(200):
        critic.learn(stripes, flat)
    assert critic(stripes).mean() > critic(flat).mean() + 0.2
    mixed = torch.cat([stripes[:, :, :8], flat[:, :, 8:]], 2)
    scores = critic(mixed).mean((1, 3))[0]
    torch.testing.assert_close(scores[0], critic(stripes)[0].mean())
    torch.testing.assert_close(scores[-1], critic(flat)[0].mean())


def test_a_patch_has_the_side_that_is_stated():
    x = torch.rand(1, 1, 28, 28, requires_grad=True)
    PatchCritic(4, (1, 28, 28), 0.25)(x)[0, 0, 2, 2].backward()
    rows = (x.grad[0, 0].abs().sum(1) > 0).sum()
    assert abs(int(rows) - 7) <= 1


def test_an_informed_critic_knows_the_answers_and_its_doubt_is_that_an_image_is_real():
    x, labels = images()
    answers = torch.nn.functional.one_hot(labels, 3).float() * 0.9 + 0.1 / 3
    prior = learned_informed(x, answers, latent=4, width=4, steps=120, seed=0)
    z = prior.sample(16, None, torch.Generator().manual_seed(1))
    with torch.no_grad():
        outputs = prior.critic(x)
        assert (outputs.argmax(1) == labels).float().mean() > 0.9
        doubt = -torch.log(outputs.exp().sum(1) / (1 + outputs.exp().sum(1)))
        torch.testing.assert_close(prior.penalty(x.flatten(1), x), doubt)
        torch.testing.assert_close(prior.image(z), prior.generator(z))


def test_guidance_goes_from_no_class_to_the_class_and_beyond():
    torch.manual_seed(0)
    network, x = Denoiser((1, 8, 8), 4, classes=2).eval(), torch.randn(3, 1, 8, 8)
    torch.nn.init.normal_(network.last[-1].weight, std=0.1)
    y, t = torch.tensor([0, 1, 1]), torch.tensor(0.4)
    with torch.no_grad():
        none, told = (network(x, t.expand(3), k) for k in (torch.full((3,), 2), y))
        torch.testing.assert_close(guided(network, x, t, y, 0.0), none, atol=2e-2, rtol=2e-2)
        torch.testing.assert_close(guided(network, x, t, y, 1.0), told, atol=2e-2, rtol=2e-2)
        torch.testing.assert_close(guided(network, x, t, y, 3.0), none + 3 * (told - none), atol=6e-2, rtol=6e-2)


def test_diffusion_draws_the_class_that_is_asked_for():
    x, labels = images()
    network = learned_denoiser(x, labels, 2, width=8, steps=60, seed=0)
    noise = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    drawn = denoised(network, noise, torch.tensor([0] * 4 + [1] * 4), steps=6, guidance=1.0)
    above = (drawn[:, 0, :4].mean((1, 2)) - drawn[:, 0, 4:].mean((1, 2))).view(2, 4).mean(1)
    assert above[0] > 0.2
    assert above[1] < -0.2
    assert 0 <= drawn.min() <= drawn.max() <= 1
