import torch

from cutlayer.privacy.releases import Kept


class Noisy:
    """An oracle whose answers all differ; it counts the images that it was asked for."""

    def __init__(self):
        self.asked = 0

    def __call__(self, images):
        self.asked += len(images)
        return images.flatten(1)[:, :2] + torch.arange(self.asked - len(images), self.asked)[:, None]


def images(n):
    return torch.rand(n, 1, 2, 2, generator=torch.Generator().manual_seed(0))


def test_attacks_share_the_releases_that_both_ask_for_and_no_others():
    oracle = Noisy()
    kept, given = Kept(oracle), images(6)
    first, second = kept.reader(), kept.reader()
    one = first(given)
    assert torch.equal(second(given[[4, 1]]), one[[4, 1]])
    assert oracle.asked == 6
    again = second(given)
    assert torch.equal(again[[0, 2, 3, 5]], one[[0, 2, 3, 5]])
    assert not torch.isclose(again[[1, 4]], one[[1, 4]]).any()
    assert oracle.asked == 8
    assert torch.equal(first(given)[[1, 4]], again[[1, 4]])


def test_an_image_that_is_asked_for_twice_at_once_is_released_twice():
    kept, given = Kept(Noisy()), images(1).repeat(3, 1, 1, 1)
    releases = kept.reader()(given)
    assert len(releases.unique(dim=0)) == 3
    assert torch.equal(kept.reader()(given), releases)
