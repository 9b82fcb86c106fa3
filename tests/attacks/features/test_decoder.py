import itertools

import pytest
import torch

from cutlayer.attacks.features.decoder import Decoder
from cutlayer.attacks.features.mean_image import MeanImage
from cutlayer.defenses.gaussian_noise import GaussianNoise
from tests.attacks.victims import convolutional_head, error


def record(view):
    """The view with a query that records its images and its answers."""
    queried, answers = [], []

    def query(images):
        queried.append(images)
        answers.append(view.query(images))
        return answers[-1]

    return view.with_query(query), queried, answers


@pytest.mark.parametrize(
    ("sigma", "n_queries", "expected"), [(0.2, 0, 3), (0.2, 2, 2), (0.0, 0, 1)], ids=["all", "allowed", "no noise"]
)
def test_every_epoch_sees_its_own_noise_as_often_as_allowed(make_view, sigma, n_queries, expected):
    view, _, answers = record(make_view(convolutional_head(), GaussianNoise(sigma=sigma), n=100))
    Decoder(capacity="he-small", epochs=3, n_queries=n_queries).fit(view)
    assert len(answers) == expected
    assert not any(torch.equal(before, after) for before, after in itertools.pairwise(answers))


def test_the_noise_set_holds_no_image(make_view):
    view, queried, _ = record(make_view(convolutional_head(), n=100))
    Decoder(capacity="he-small", epochs=1, auxiliary="noise").fit(view)
    assert queried[0].shape == (100, 1, 6, 6)
    assert queried[0].min() >= 0
    assert queried[0].max() <= 1
    assert queried[0].std() > 0.3, "wider than any image of the auxiliary set"


def test_a_decoder_beats_the_mean_image(make_view, private):
    view = make_view(convolutional_head(), n=1000)
    decoder = Decoder(capacity="conv_normN0C16", epochs=8)
    assert error(decoder, view, private) < 0.4 * error(MeanImage(), view, private)


def test_variations_of_the_images_are_queried_in_every_epoch(make_view):
    view, queried, _ = record(make_view(convolutional_head(), n=100))
    Decoder(capacity="he-small", epochs=3, varied=True).fit(view)
    assert [len(images) for images in queried] == [100, 90, 90, 90]
    assert not any(torch.equal(before, after) for before, after in itertools.pairwise(queried[1:]))


def test_a_constant_learning_rate_stays(make_view, monkeypatch):
    rates = []
    step = torch.optim.Adam.step
    monkeypatch.setattr(
        torch.optim.Adam, "step", lambda self: (rates.append(self.param_groups[0]["lr"]), step(self))[1]
    )
    for schedule in ("constant", "cosine"):
        Decoder(capacity="he-small", epochs=2, schedule=schedule, lr=1e-3).fit(make_view(convolutional_head(), n=100))
    assert rates[:4] == [pytest.approx(1e-3)] * 4
    assert rates[7] < 0.5e-3
