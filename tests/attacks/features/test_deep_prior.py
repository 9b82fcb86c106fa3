import pytest
import torch

from cutlayer.attacks.features.deep_prior import DeepPrior
from cutlayer.errors import ConfigError
from cutlayer.registry import ATTACKS
from tests.attacks.victims import convolutional_head, error, linear_head

ONE = {"widths": (8,), "tv": (0.0,), "noise": (0.0,), "misfit": ("plain",)}


@pytest.mark.parametrize(("head", "share"), [(linear_head, 0.05), (convolutional_head, 0.3)])
def test_an_untrained_network_finds_the_image_that_was_sent(head, share, make_view, private):
    view = make_view(head())
    floor = error(ATTACKS.make("mean-image"), view, private[:4])
    assert error(DeepPrior(iterations=120, **ONE), view, private[:4]) < share * floor


def test_each_image_is_searched_as_it_would_be_alone(make_view, private):
    view, attack = make_view(convolutional_head()), DeepPrior(iterations=4, **{**ONE, "noise": (1.0,)})
    attack.fit(view)
    received = view.query(private[:3])
    alone = torch.cat([attack.invert(one[None]) for one in received])
    torch.testing.assert_close(attack.invert(received), alone, rtol=0, atol=0.02)  # bfloat16


def test_more_steps_explain_more_and_the_kept_picture_has_the_least_loss(make_view, private):
    view = make_view(linear_head())
    misfits = []
    for iterations in (5, 30):
        attack = DeepPrior(iterations=iterations, **ONE)
        attack.fit(view)
        received = view.query(private[:4])
        misfits.append((view.query(attack.invert(received)) - received).square().mean())
    assert misfits[1] < misfits[0]


def test_a_setting_is_chosen_that_comes_nearest_to_images_of_the_attackers_own(make_view):
    attack = DeepPrior(iterations=20, **{**ONE, "tv": (1e6, 0.0)})
    attack.fit(make_view(linear_head()))
    assert attack._setting == ("plain", 0.0, 0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"misfit": ("best",)}, "deep-prior.misfit must be of plain"), ({"widths": ()}, "one level or more")],
)
def test_an_impossible_option_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        DeepPrior(**options)
