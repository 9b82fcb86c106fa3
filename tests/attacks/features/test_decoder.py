import pytest
import torch

from attacks.features.decoder import Decoder
from attacks.features.mean_image import MeanImage
from cutlayer.errors import ConfigError
from defenses.gaussian_noise import GaussianNoise
from tests.attacks.victims import convolutional_head, error


def record(view):
    """The view with a query that records its images and its answers."""
    queried, answers = [], []

    def query(images):
        queried.append(images)
        answers.append(view.query(images))
        return answers[-1]

    return view.with_query(query), queried, answers


def test_every_epoch_sees_its_own_noise(make_view):
    view, _, answers = record(make_view(convolutional_head(), GaussianNoise(sigma=0.2), n=100))
    Decoder(capacity="he-small", epochs=3).fit(view)
    assert len(answers) == 3
    assert not torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[1], answers[2])


def test_it_queries_no_more_often_than_allowed(make_view):
    view, _, answers = record(make_view(convolutional_head(), GaussianNoise(sigma=0.2), n=100))
    Decoder(capacity="he-small", epochs=4, n_queries=2).fit(view)
    assert len(answers) == 2


def test_a_deterministic_device_is_queried_once(make_view):
    view, queried, _ = record(make_view(convolutional_head(), n=100))
    Decoder(capacity="he-small", epochs=3).fit(view)
    assert len(queried) == 1


def test_the_noise_set_holds_no_image(make_view):
    view, queried, _ = record(make_view(convolutional_head(), n=100))
    Decoder(capacity="he-small", epochs=1, auxiliary="noise").fit(view)
    assert queried[0].shape == (100, 1, 6, 6)
    assert queried[0].min() >= 0
    assert queried[0].max() <= 1
    assert queried[0].std() > 0.3, "wider than any image of the auxiliary set"


def test_learns(make_view, private):
    view = make_view(convolutional_head(), n=1000)
    decoder = Decoder(capacity="conv_normN0C16", epochs=8)
    assert error(decoder, view, private) < 0.4 * error(MeanImage(), view, private)


@pytest.mark.parametrize("options", [{"capacity": "big"}, {"capacity": "res_normN4C0"}, {"auxiliary": "victims"}])
def test_refuses_what_it_does_not_know(options):
    with pytest.raises(ConfigError):
        Decoder(**options)
