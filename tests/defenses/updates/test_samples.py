"""The defenses that change the samples, and the attack that each falls to."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn

from cutlayer.attacks.gradients.client import observed
from cutlayer.defenses.updates.augmentation import Augmentation
from cutlayer.defenses.updates.base import Local
from cutlayer.defenses.updates.perceptual_hash import PerceptualHash, hashed
from cutlayer.defenses.updates.vrm import Vrm
from cutlayer.errors import ConfigError
from tests.defenses.updates.solves import matched, psnr, ratio, smooth


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def inputs() -> torch.Tensor:
    return torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_augmentation_gives_the_attacker_the_changed_image(inputs):
    """The gradient tells the image that the operations made as well as it would have told the client's own."""
    made = observed(smooth(), inputs[:1], torch.tensor([1]), Augmentation(), rng(0))
    found = ratio(made.observation.update, "1.weight", "1.bias")
    assert psnr(found, made.inputs) > 100
    assert psnr(found, inputs[:1]) < 25


def test_augmentation_draws_anew_each_time_and_keeps_the_range(inputs):
    local = Local(smooth(), inputs, torch.tensor([1, 2]))
    source = rng()
    once, again = (Augmentation().augment(inputs, local.labels, source, local)[0] for _ in range(2))
    assert not torch.equal(once, again)
    assert once.min() >= 0
    assert once.max() <= 1


def test_augmentation_refuses_tables():
    rows = torch.rand(2, 51)
    with pytest.raises(ConfigError, match="changes images of 1 or 3 channels"):
        Augmentation().augment(rows, torch.tensor([0, 1]), rng(), Local(smooth(), rows, torch.tensor([0, 1])))


def test_vrm_mixes_as_in_the_paper(inputs):
    """Around 0, as normalized there: ``-.8 x1 + .2 x2`` and ``-.8 x2 + .2 x1``, with the label of the larger part."""
    labels = torch.tensor([1, 3])
    mixed, of = Vrm().augment(inputs, labels, rng(), Local(smooth(), inputs, labels))
    (x1, x2), around = 2 * inputs - 1, 2 * mixed - 1
    for found, expected in zip(around, (x1, x2, -0.8 * x1 + 0.2 * x2, -0.8 * x2 + 0.2 * x1), strict=True):
        assert torch.allclose(found, expected, atol=1e-6)
    assert of.tolist() == [1, 3, 1, 3]


def test_vrm_falls_to_an_attacker_who_mixes_as_well(inputs):
    """From one start the fit may end at the inverted images, whose loss is greater; from three it does not."""
    model, labels, defense = smooth(), torch.tensor([1, 3]), Vrm()
    update = observed(model, inputs, labels, defense, rng()).observation.update
    assert psnr(matched(model, update, labels, (1, 8, 8), lambda x, y: (x, y)), inputs) < 15
    assert psnr(matched(model, update, labels, (1, 8, 8), defense.augment_twin, starts=3), inputs) > 35


def test_a_hashed_block_keeps_one_bit_of_each_of_its_lowest_waves():
    """A block and one of other contrast with the same signs become the same pattern, which has the same signs."""
    block = np.random.default_rng(0).random((8, 8), np.float32)
    pattern = hashed(block)
    assert np.array_equal(pattern, hashed(0.5 + (block - 0.5) * np.float32(0.25)))
    assert len(np.unique(np.abs(dctn(hashed(0.5 + 0 * block) - 0.5, norm="ortho")).round(4))) == 1
    assert np.array_equal(np.sign(dctn(pattern - 0.5)[:4, :4]), np.sign(dctn(block - 0.5)[:4, :4]))


def test_perceptual_hashing_gives_away_what_it_does_not_hash(inputs):
    defense = PerceptualHash(part=0.5, block=4)
    made = observed(smooth(), inputs[:1], torch.tensor([1]), defense, rng())
    found = ratio(made.observation.update, "1.weight", "1.bias").reshape(1, 1, 8, 8)
    assert psnr(found, made.inputs) > 100
    kept = made.inputs == inputs[:1]
    assert int(kept.sum()) == 32
    assert torch.allclose(found[kept], inputs[:1][kept], atol=1e-4)
