import pytest
import torch

from cutlayer.attacks.view import LENGTHS
from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.errors import ConfigError
from cutlayer.metrics.identification import ranks, shares
from cutlayer.registry import ATTACKS
from tests.attacks.victims import convolutional_head


def rate(attack, view, images):
    attack.fit(view)
    releases = torch.stack([view.query(images) for _ in range(attack.n_releases)])
    scores = attack.identify(releases, images)
    return float(shares(*ranks(scores, torch.eye(len(images), dtype=torch.bool)), 1).mean())


def test_equal_lengths_are_not_told_apart_and_different_ones_are(make_view, private):
    view = make_view(convolutional_head(), sees=LENGTHS)
    lengths = view.query(private).flatten()
    alike = (lengths[:, None] == lengths).sum(dim=1)
    assert rate(ATTACKS.make("traffic"), view, private) == pytest.approx(float((1 / alike).mean()))


def test_more_messages_of_one_input_say_more(make_view, private):
    view = make_view(convolutional_head(), GaussianNoise(sigma=0.1), sees=LENGTHS)
    once, often = (ATTACKS.make("traffic", n_releases=n, n_queries=64) for n in (1, 64))
    assert rate(often, view, private) > rate(once, view, private)


def test_the_picture_is_the_mean_of_those_of_that_length(make_view, private):
    view, attack, floor = (
        make_view(convolutional_head(), sees=LENGTHS), ATTACKS.make("traffic"), ATTACKS.make("mean-image")
    )  # fmt: skip
    for each in (attack, floor):
        each.fit(view)
    error, least = ((each.invert(view.query(private)) - private).square().mean() for each in (attack, floor))
    assert error < least, "a longer message is that of a brighter picture here"


def test_smashed_data_is_refused(make_view):
    with pytest.raises(ConfigError, match="traffic observes the length of each message, and not 8x3x3"):
        ATTACKS.make("traffic").fit(make_view(convolutional_head()))
