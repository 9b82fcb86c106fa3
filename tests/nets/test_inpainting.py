"""The generator that fills hidden parts of images."""

import pytest
import torch

from cutlayer.nets.inpainting import Inpainter, learned_inpainter


@pytest.fixture(scope="module")
def mask():
    mask = torch.zeros(1, 1, 10, 13, dtype=torch.bool)
    mask[..., 3:7, 4:9] = True
    return mask


@pytest.fixture(scope="module")
def images():
    """Images of one shade, which the visible part tells, with a spot of another in the middle, which it does not."""
    random = torch.Generator().manual_seed(0)
    shade, spot = torch.rand(2, 200, 1, 1, 1, generator=random)
    images = shade.expand(-1, 1, 10, 13).clone()
    images[..., 3:7, 4:9] = spot
    return images


@pytest.fixture(scope="module")
def network(images, mask):
    return learned_inpainter(images, mask, latent=2, width=4, steps=40, seed=1)


def test_the_visible_part_stays_and_what_was_hidden_is_not_looked_at(network, images, mask):
    z = torch.randn(8, 2)
    with torch.no_grad():
        filled = network(z, images[:8])
        blind = network(z, images[:8] * ~mask)
    assert torch.equal(filled, blind)
    assert torch.equal(filled * ~mask, images[:8] * ~mask)
    assert 0 <= filled.min() <= filled.max() <= 1


def test_latent_vectors_say_how_the_hidden_part_is_filled(network, images):
    with torch.no_grad():
        spots = network.hidden(network(torch.randn(64, 2), images[:1].expand(64, -1, -1, -1)))
    assert spots.shape == (64, 1, 4, 5)
    assert spots.mean((1, 2, 3)).std() > 0.1


def test_the_critics_see_the_whole_and_the_hidden_part(images, mask):
    torch.manual_seed(0)
    network = Inpainter(2, 4, (1, 10, 13), mask)
    changed = images[:4].clone()
    changed[..., 0, 0] = 1 - changed[..., 0, 0]
    assert not torch.equal(network.likeness(images[:4]), network.likeness(changed))
    assert torch.equal(network.local(network.hidden(images[:4])), network.local(network.hidden(changed)))


def test_training_is_the_same_for_equal_seeds(network, images, mask):
    again = learned_inpainter(images.clone(), mask, latent=2, width=4, steps=40, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), network.parameters(), strict=True))
