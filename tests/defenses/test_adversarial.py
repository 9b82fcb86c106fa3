import pytest

from cutlayer.defenses.adversarial import Adversarial
from cutlayer.defenses.shared.surrogate import Surrogate
from tests.defenses.victims import last_quality, small_lenet, smooth_images


@pytest.mark.parametrize(("measure", "weight"), [("ssim", 10.0), ("mse", 100.0)])
def test_the_head_moves_away_from_what_the_decoder_rebuilds(monkeypatch, measure, weight):
    against, unmoved = (
        last_quality(monkeypatch, Adversarial(weight=w, measure=measure, decoder="conv_normN0C16", epochs=8))
        for w in (weight, 1e-9)
    )
    assert against < unmoved - (0.03 if measure == "ssim" else 0.002)


@pytest.mark.parametrize(("turns", "expected"), [("batches", (1, 3 + 9)), ("epochs", (3, 3 * 3))])
def test_decoder_and_model_take_turns(monkeypatch, turns, expected):
    pretrainings, steps = [], []
    pretrain, learn = Surrogate.pretrain, Surrogate.learn
    monkeypatch.setattr(Surrogate, "pretrain", lambda *args: pretrainings.append(1) or pretrain(*args))
    monkeypatch.setattr(Surrogate, "learn", lambda *args: steps.append(1) or learn(*args))
    Adversarial(decoder="conv_normN0C16", turns=turns, epochs=3).harden(small_lenet(), smooth_images(), seed=0)
    assert (len(pretrainings), len(steps)) == expected
