import pytest
import torch

from attacks.features.decoder import Decoder
from cutlayer.errors import ConfigError
from tests.attacks.victims import Noise, convolutional_head


def record(view):
    """The view with a query that keeps what it was asked and what it answered."""
    asked, answered = [], []

    def query(images):
        asked.append(images)
        answered.append(view.query(images))
        return answered[-1]

    return view.with_query(query), asked, answered


def test_every_epoch_sees_its_own_noise(make_view):
    view, _, answered = record(make_view(convolutional_head(), Noise(0.2), n=100))
    Decoder("he-small", epochs=3).fit(view)
    assert len(answered) == 3
    assert not torch.equal(answered[0], answered[1])
    assert not torch.equal(answered[1], answered[2])


def test_it_asks_no_oftener_than_it_may(make_view):
    view, _, answered = record(make_view(convolutional_head(), Noise(0.2), n=100))
    Decoder("he-small", epochs=4, n_queries=2).fit(view)
    assert len(answered) == 2


def test_a_deterministic_device_is_queried_once(make_view):
    view, asked, _ = record(make_view(convolutional_head(), n=100))
    Decoder("he-small", epochs=3).fit(view)
    assert len(asked) == 1


def test_the_noise_set_holds_no_image(make_view):
    view, asked, _ = record(make_view(convolutional_head(), n=100))
    Decoder("he-small", epochs=1, auxiliary="noise").fit(view)
    assert asked[0].shape == (100, 1, 6, 6)
    assert asked[0].min() >= 0
    assert asked[0].max() <= 1
    assert asked[0].std() > 0.3, "wider than any image of the auxiliary set"


def test_learns(make_view, private):
    view, attack = make_view(convolutional_head(), n=1000), Decoder("conv_normN0C16", epochs=8)
    attack.fit(view)
    floor = torch.from_numpy(view.auxiliary.inputs).mean(dim=0)
    error, mean = ((guess - private).square().mean() for guess in (attack.invert(view.query(private)), floor))
    assert error < 0.4 * mean


@pytest.mark.parametrize("options", [{"capacity": "big"}, {"capacity": "res_normN4C0"}, {"auxiliary": "victims"}])
def test_refuses_what_it_does_not_know(options):
    with pytest.raises(ConfigError):
        Decoder(**options)
