import pytest
import torch

from cutlayer.nets.priors import Linear, Pixels, Prior, Wgan, learned_wgan, parts


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=60, shape=(1, 8, 8)):
    """Images that two numbers describe."""
    random = drawn(5)
    base = torch.rand(2, *shape, generator=random) / 2
    return (torch.rand(n, 2, generator=random) @ base.flatten(1)).view(n, *shape)


PRIORS = [Pixels(images().mean(0)), Linear(images(), 6), Wgan(5, 2, (1, 8, 8)).eval()]
each = pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: type(prior).__name__)


@each
def test_images_in_range_differentiable_and_equal_for_equal_draws(prior: Prior):
    z = prior.sample(3, None, drawn())
    assert z.shape == (3, prior.latent)
    assert torch.equal(prior.sample(3, None, drawn()), z)
    z.requires_grad_()
    image = prior.image(z)
    assert image.shape == (3, 1, 8, 8)
    assert 0 <= image.min() <= image.max() <= 1
    assert prior.penalty(z, image).shape == (3,)
    (gradient,) = torch.autograd.grad(image.sum() + prior.penalty(z, image).sum(), z)
    assert (gradient.abs().sum(1) > 0).all()


@each
def test_the_blocks_make_the_image(prior: Prior):
    z = prior.sample(3, None, drawn())
    x = z
    for block in prior.blocks():
        x = block(x, None)
    torch.testing.assert_close(x, prior.image(z))


def test_pixels_start_around_an_image_and_stay_in_range():
    prior = Pixels(torch.full((1, 8, 8), 0.3))
    z = prior.sample(200, None, drawn())
    assert z.mean().item() == pytest.approx(0.3, abs=0.01)
    assert z.std().item() == pytest.approx(0.1, abs=0.01)
    assert prior.clip(z + 5).max() == 1
    flat, striped = torch.zeros(1, 1, 8, 8), torch.tensor([0.0, 1.0]).repeat(1, 1, 8, 4)
    assert prior.penalty(flat, flat).item() == 0
    assert prior.penalty(striped, striped).item() == pytest.approx(1)


def test_components_reproduce_the_images_and_their_spread():
    data = images(400)
    prior = Linear(data, 6)
    assert prior.latent == 2
    centred = (data - prior.mean).flatten(1)
    z = centred @ torch.linalg.pinv(prior.basis)
    torch.testing.assert_close(prior.image(z), data, atol=1e-3, rtol=0)
    torch.testing.assert_close(z.std(0), torch.ones(2), atol=0.05, rtol=0)


def test_fewer_images_than_components():
    assert Linear(images(2), 6).latent == 1


def test_equal_images_give_their_mean():
    prior = Linear(torch.full((4, 1, 8, 8), 0.5), 6)
    assert (prior.image(prior.sample(2, None, drawn())) - 0.5).abs().max() < 1e-4


def test_a_generator_in_as_many_parts_as_it_has_activations_and_one():
    prior = Wgan(5, 2, (1, 28, 28))
    assert len(parts(prior.generator)) == 5
    assert len(prior.blocks()) == 5


def test_a_learned_generator_is_the_same_for_the_same_images():
    first = learned_wgan(images(), latent=3, width=2, steps=8, seed=1)
    second = learned_wgan(images(), latent=3, width=2, steps=8, seed=1)
    z = first.sample(2, None, drawn())
    assert torch.equal(first.image(z), second.image(z))
    assert not first.training
    assert not any(parameter.requires_grad for parameter in first.parameters())
