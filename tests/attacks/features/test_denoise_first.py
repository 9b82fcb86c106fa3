import pytest
import torch

from cutlayer.attacks.features import denoise_first
from cutlayer.attacks.features.denoise_first import DenoiseFirst
from cutlayer.attacks.features.ridge import Ridge
from cutlayer.attacks.queries import apart
from cutlayer.defenses.gaussian_noise import GaussianNoise
from tests.attacks.victims import error, linear_head, smooth_images


def test_learns_to_remove_noise(make_view, private):
    """The images are combinations of nine pictures, so most of the noise on 64 values has nowhere to hide."""
    view = make_view(linear_head(), GaussianNoise(sigma=1.0))
    denoiser = DenoiseFirst(attack="ridge", epochs=6)._trained(*apart(view))
    with torch.no_grad():
        clean, noisy = view.head(private), view.query(private)
    assert (denoise_first._clean(denoiser, noisy) - clean).square().mean() < 0.5 * (noisy - clean).square().mean()


def test_never_much_below_the_attack_alone(make_view, private):
    view = make_view(linear_head(), GaussianNoise(sigma=0.3))
    assert error(DenoiseFirst(attack="ridge", epochs=1), view, private) < 1.1 * error(Ridge(), view, private)


def test_without_noise_the_attack_runs_alone(make_view, private):
    view, alone, attack = make_view(linear_head()), Ridge(), DenoiseFirst(attack="ridge")
    alone.fit(view)
    attack.fit(view)
    torch.testing.assert_close(attack.invert(view.query(private)), alone.invert(view.query(private)))


@pytest.mark.parametrize("helps", [True, False])
def test_held_out_images_decide(helps, make_view, monkeypatch):
    monkeypatch.setattr(DenoiseFirst, "_trained", lambda self, view, held_out: torch.nn.Linear(64, 64))
    monkeypatch.setattr(denoise_first, "surely_less", lambda errors, than: helps)
    attack = DenoiseFirst(attack="ridge")
    attack.fit(make_view(linear_head(), GaussianNoise(sigma=0.3)))
    assert (attack._denoiser is not None) == helps
    assert attack.invert(torch.zeros(2, 64)).shape == smooth_images(2, 0).shape
