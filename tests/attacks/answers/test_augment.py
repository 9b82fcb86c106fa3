import pytest
import torch

from cutlayer.attacks.answers.augment import Augment


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=40, height=10, width=20):
    return torch.rand(n, 1, height, width, generator=drawn(1))


def test_off_changes_nothing():
    assert not Augment().on
    assert Augment()(images(), drawn()) is not None
    assert torch.equal(Augment()(images(), drawn()), images())


def test_a_shift_moves_by_whole_pixels_up_to_its_share_of_each_side():
    marked = torch.zeros(300, 1, 10, 20)
    marked[:, :, 5, 10] = 1
    shifted = Augment(shift=0.2)(marked, drawn())
    torch.testing.assert_close(shifted.amax((1, 2, 3)), torch.ones(300), atol=1e-4, rtol=0)
    places = shifted.flatten(1).argmax(1)
    assert set((places // 20).tolist()) == set(range(3, 8))
    assert set((places % 20).tolist()) == set(range(6, 15))


def test_a_flip_mirrors_half_of_the_images():
    flipped = Augment(flip=True)(images(), drawn())
    same = (flipped - images()).abs().amax((1, 2, 3)) < 1e-5
    mirrored = (flipped - images().flip(-1)).abs().amax((1, 2, 3)) < 1e-5
    assert (same ^ mirrored).all()
    assert 0.25 < mirrored.float().mean() < 0.75


def test_a_crop_shows_no_more_than_the_image():
    ramp = torch.linspace(0, 1, 20).expand(50, 1, 10, 20)
    cropped = Augment(crop=0.5)(ramp, drawn())
    seen = cropped.amax((1, 2, 3)) - cropped.amin((1, 2, 3))
    assert 0.45 < seen.min() < 0.6
    assert seen.max() <= 1
    assert seen.max() > 0.9


def test_a_rotation_turns_around_the_middle_without_distortion():
    line = torch.zeros(30, 1, 41, 21)
    line[:, :, :, 10] = 1
    turned = Augment(rotate=20)(line, drawn())
    middle = turned[:, 0, 20, 8:13].sum(1)
    assert middle.min() > 0.9
    rows = torch.arange(21.0)
    for row in (10, 30):
        weights = turned[:, 0, row]
        centre = (weights * rows).sum(1) / weights.sum(1) - 10
        assert centre.abs().max() < 10 * torch.tan(torch.deg2rad(torch.tensor(20.0))) + 0.3
        assert centre.abs().max() > 2


def test_the_same_draws_for_the_same_source_and_gradients_to_the_image():
    augment = Augment(shift=0.1, crop=0.8, rotate=5, flip=True)
    x = images().requires_grad_()
    first = augment(x, drawn(3))
    assert torch.equal(first, augment(x, drawn(3)))
    (gradient,) = torch.autograd.grad(first.sum(), x)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("option", [{"shift": 0.1}, {"crop": 0.9}, {"rotate": 3}, {"flip": True}])
def test_each_option_is_on(option):
    assert Augment(**option).on


def test_a_rectangle_of_the_mean_color_is_erased_and_gradients_pass_beside_it():
    whole = images(40, 20, 20).requires_grad_()
    changed = Augment(erase=0.4)(whole, drawn())
    gone = (changed - whole).abs() > 1e-6
    assert gone.float().mean((1, 2, 3)).min() > 0.08
    assert gone.float().mean((1, 2, 3)).max() < 0.43
    torch.testing.assert_close(changed[gone], whole.detach().mean().expand(int(gone.sum())), atol=1e-5, rtol=0)
    changed.sum().backward()
    assert torch.equal(whole.grad == 0, gone)
