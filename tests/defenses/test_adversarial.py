import functools

import pytest
import torch
from torch.nn.functional import interpolate

from cutlayer.data.splits import Dataset, Splits
from cutlayer.errors import ConfigError
from cutlayer.models.halves import SplitModel, split
from cutlayer.models.zoo import build
from cutlayer.spec import image_spec
from defenses.adversarial import Adversarial
from defenses.base import Defense
from defenses.shared.surrogate import Surrogate

IMAGE = image_spec(1, 16, 16)


@functools.cache
def data(n: int = 160) -> Splits:
    coarse = torch.rand(n, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    images = interpolate(coarse, IMAGE.shape[1:], mode="bilinear").contiguous()
    part = Dataset(images.numpy(), (images.mean((1, 2, 3)) > 0.5).long().numpy())
    return Splits("made", ("dark", "bright"), part, part, part, part)


def victim() -> SplitModel:
    return split(build("he_lenet", IMAGE, 2), "ReLU1", IMAGE)


def last_quality(monkeypatch, defense: Defense) -> float:
    """What the defender's decoder reached at the end of the training, mean of the last few batches."""
    seen, quality = [], Surrogate.quality

    def noted(surrogate: Surrogate, smashed: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        seen.append(quality(surrogate, smashed, images))
        return seen[-1]

    monkeypatch.setattr(Surrogate, "quality", noted)
    defense.harden(victim(), data(), seed=0)
    monkeypatch.setattr(Surrogate, "quality", quality)
    return float(torch.stack(seen[-4:]).detach().mean())


@pytest.mark.parametrize(("measure", "weight"), [("ssim", 10.0), ("mse", 100.0)])
def test_the_head_moves_away_from_what_the_decoder_rebuilds(monkeypatch, measure, weight):
    against, unmoved = (
        last_quality(monkeypatch, Adversarial(one, measure, "conv_normN0C16", epochs=8)) for one in (weight, 1e-9)
    )
    assert against < unmoved - (0.03 if measure == "ssim" else 0.002)


@pytest.mark.parametrize(("turns", "expected"), [("batches", (1, 3 + 9)), ("epochs", (3, 3 * 3))])
def test_decoder_and_model_take_turns(monkeypatch, turns, expected):
    pretrainings, steps = [], []
    pretrain, learn = Surrogate.pretrain, Surrogate.learn
    monkeypatch.setattr(Surrogate, "pretrain", lambda *given: pretrainings.append(1) or pretrain(*given))
    monkeypatch.setattr(Surrogate, "learn", lambda *given: steps.append(1) or learn(*given))
    Adversarial(decoder="conv_normN0C16", turns=turns, epochs=3).harden(victim(), data(), seed=0)
    assert (len(pretrainings), len(steps)) == expected


@pytest.mark.parametrize("options", [{"weight": -1.0}, {"epochs": -1}, {"lr": 0.0}, {"turns": "hours"}])
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigError):
        Adversarial(**options)
