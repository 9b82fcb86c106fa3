import torch

from cutlayer.attacks.features.averaging import Averaging
from cutlayer.attacks.features.ridge import Ridge
from cutlayer.defenses.gaussian_noise import GaussianNoise
from tests.attacks.victims import error, linear_head


def test_many_releases_beat_one(make_view, private):
    view = make_view(linear_head(), GaussianNoise(sigma=0.5))
    single, mean = (error(Averaging(attack="ridge", n_releases=n), view, private) for n in (1, 16))
    assert mean < 0.6 * single


def test_changes_nothing_without_noise(make_view, private):
    view, plain, averaging = make_view(linear_head()), Ridge(), Averaging(attack="ridge", n_releases=4)
    plain.fit(view)
    averaging.fit(view)
    received = view.query(private)
    torch.testing.assert_close(averaging.invert_releases(received.expand(4, *received.shape)), plain.invert(received))


def test_learns_from_means_of_as_many_queries(make_view):
    view, calls = make_view(linear_head(), GaussianNoise(sigma=0.5)), []

    def counted(images):
        calls.append(len(images))
        return view.query(images)

    Averaging(attack="nearest", n_releases=5).fit(view.with_query(counted))
    assert sum(calls) == 5 * len(view.auxiliary)


def test_zeros_do_not_count_in_the_mean_of_survivors():
    releases = torch.tensor([[[0.0, 2.0, 0.0]], [[1.0, 4.0, 0.0]], [[3.0, 0.0, 0.0]]])
    assert Averaging(over="survivors")._mean(releases).tolist() == [[2, 3, 0]]
    torch.testing.assert_close(Averaging()._mean(releases), releases.mean(dim=0))
