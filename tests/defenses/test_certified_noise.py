import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.defenses.base import Defense
from cutlayer.defenses.certified_noise import CertifiedNoise, nats_apart
from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.defenses.shared.aware import smashed_of
from cutlayer.models.bounds import Codebook, Sphere
from cutlayer.models.export import export_onnx
from cutlayer.models.halves import SplitModel, split
from cutlayer.onnx.session import runtime
from cutlayer.spec import TensorSpec
from cutlayer.training import train
from tests.defenses.victims import IMAGE, SMOOTH, accuracy, rng, shades, small_lenet, small_split, smooth_images


def identified(split_: SplitModel, defense: Defense, images: np.ndarray, draws: int = 20) -> float:
    """How often the most likely candidate is the true one; no attacker identifies more."""
    with torch.no_grad():
        density = defense.density(split_.head(torch.from_numpy(images)))
        likely = density.log_density_of_releases
        best = [likely(release[None]).argmax(1) for release in density.draw(draws, torch.Generator().manual_seed(0))]
    return float((torch.stack(best) == torch.arange(len(images))).double().mean())


def trained_lenet() -> SplitModel:
    halves = small_lenet()
    train(nn.Sequential(halves.head, halves.tail), smooth_images().train, epochs=12, seed=0)
    return halves


def test_training_lowers_the_ceiling_at_the_accuracy_of_plain_noise():
    data, halves = smooth_images(), trained_lenet()
    certified = CertifiedNoise(sigma=0.3, epochs=15, width=16)
    hardened = certified.harden(halves, data, seed=0)
    plain = GaussianNoise(sigma=1.0, noise_aware_epochs=5)
    adapted = plain.harden(halves, data, seed=0)
    assert accuracy(hardened, certified.protect, data) >= accuracy(adapted, plain.protect, data) - 0.01
    ceilings = [identified(h, d, data.test.inputs) for h, d in ((hardened, certified), (adapted, plain))]
    assert ceilings[0] < 0.1 * ceilings[1], ceilings


def test_a_weight_on_the_spread_brings_a_class_together():
    data, halves = smooth_images(), small_lenet()
    spreads, found = [], []
    for spread in (0.0, 0.3):
        defense = CertifiedNoise(sigma=0.3, spread=spread, epochs=12, width=16)
        hardened = defense.harden(halves, data, seed=0)
        sent, labels = smashed_of(hardened, data.test), data.test.labels
        spreads.append(np.mean([sent[labels == c].var(axis=0).sum() for c in (0, 1)]))
        found.append(identified(hardened, defense, data.test.inputs))
    assert spreads[1] < 0.8 * spreads[0], spreads
    assert found[1] < found[0]


@pytest.mark.parametrize("cut", ["2", "3"])  # a grid and a vector
@pytest.mark.parametrize("head_lr_scale", [0.0, 1.0])
def test_halves_are_trained_or_left_as_options_say(cut, head_lr_scale):
    data, whole = shades(), small_split(3)
    halves = split(nn.Sequential(*whole.head.children(), *whole.tail.children()), cut, IMAGE)
    defense = CertifiedNoise(sigma=0.1, epochs=20, head_lr_scale=head_lr_scale)
    hardened = defense.harden(halves, data, seed=0)
    assert hardened.smashed.shape == (16,)
    assert accuracy(hardened, defense.protect, data) > 0.9
    before, after = halves.head.state_dict(), hardened.head.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items()) == (head_lr_scale == 0)


def test_the_norm_is_at_most_1_in_the_exported_head_whatever_the_weights_and_the_input(tmp_path):
    images = np.concatenate([
        smooth_images().test.inputs[:20],
        np.zeros((1, *SMOOTH.shape), np.float32), np.ones((1, *SMOOTH.shape), np.float32),
        rng().choice([-1e6, 0.0, 1e6], (20, *SMOOTH.shape)).astype(np.float32),
    ])  # fmt: skip
    hardened = CertifiedNoise().surgery(small_lenet())
    last = hardened.head.get_submodule("bottleneck")[-1]
    with torch.no_grad():
        last.weight.mul_(1e8)
        last.bias.mul_(1e8)
    export_onnx(hardened.head, SMOOTH, tmp_path / "head.onnx", "image", "smashed")
    head = runtime().InferenceSession(tmp_path / "head.onnx")
    norms = np.linalg.norm(head.run(None, {"image": images})[0].astype(np.float64), axis=1)
    assert abs(norms - 1).max() <= 1e-6


@pytest.mark.parametrize("factor", [0.0, 1e-30, 1e-6, 1.0, 1e15, 1e30])
def test_the_norm_is_at_most_1_for_all_numbers(factor):
    given = torch.randn(50, 16, generator=torch.Generator().manual_seed(0)) * factor
    given.requires_grad_()
    sent = Sphere()(given)
    assert sent.detach().double().norm(dim=1).max() <= 1 + 1e-6
    (gradient,) = torch.autograd.grad(sent[:, 0].sum(), given)
    assert factor > 1e15 or torch.isfinite(gradient).all()


def test_with_codewords_no_number_of_releases_tells_more_than_the_codeword():
    data, halves = smooth_images(), trained_lenet()
    defense = CertifiedNoise(sigma=0.2, codewords=2, epochs=20, width=16)
    hardened = defense.harden(halves, data, seed=0)
    sent = smashed_of(hardened, data.test, len(data.test))
    different = np.unique(sent, axis=0)
    assert 2 <= len(different) <= 4
    np.testing.assert_allclose(np.linalg.norm(different, axis=1), 1, rtol=1e-6)
    assert accuracy(hardened, defense.protect, data) > 0.85
    averaged = replace(defense, sigma=1e-9)
    rates = [identified(hardened, d, data.test.inputs) for d in (defense, averaged)]
    # What is drawn is of a finite number of trials; 5 standard deviations.
    assert max(rates) < len(different) / len(sent) + 5 * (len(different) / len(sent) / (20 * len(sent))) ** 0.5


def test_the_exported_codebook_sends_its_codewords_bit_for_bit(tmp_path):
    book = Codebook(6, 4)
    book.get_buffer("codewords").copy_(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)))
    export_onnx(book, TensorSpec((4,), "float32"), tmp_path / "book.onnx", "x", "sent")
    given = rng().normal(size=(200, 4)).astype(np.float32)
    (sent,) = runtime().InferenceSession(tmp_path / "book.onnx").run(None, {"x": given})
    codewords = book.get_buffer("codewords").numpy()
    assert np.array_equal(sent, codewords[(given @ codewords.T).argmax(1)])


def test_what_it_states():
    sent = np.eye(4, 16, dtype=np.float32)
    facts = CertifiedNoise(sigma=0.25).facts(sent)
    assert facts["greatest_norm"] == 1
    assert facts["noise_sigma"] == 0.25
    assert facts["bits_at_most"] == pytest.approx(16 / 2 * math.log2(1 + 1 / (16 * 0.25**2)))
    assert math.isfinite(facts["snr_db"])
    assert not {"different_points_sent", "memo"} & facts.keys()
    coded = CertifiedNoise(codewords=2, memo=True).facts(np.concatenate([sent, sent]))
    assert coded["different_points_sent"] == 4
    assert "repeated" in coded["memo"]


def test_nats_are_those_of_normal_distributions():
    means, centers = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(means, 0.3), normal(centers, 0.3)).sum(1).mean()
    torch.testing.assert_close(nats_apart(means, centers, 0.3), expected)


def test_a_memo_repeats_the_noise_of_an_input_and_of_no_other():
    sent = rng(1).normal(size=(500, 16)).astype(np.float32)
    defense, draws = CertifiedNoise(sigma=0.5, memo=True), rng(2)
    first = defense.protect(sent, draws)
    order = rng(3).permutation(len(sent))
    assert np.array_equal(defense.protect(sent[order], draws), first[order])
    assert np.array_equal(defense.protect(sent[:1], draws), first[:1])
    assert not defense.random
    noise = (first - sent).astype(np.float64)
    assert abs(noise.mean()) < 5 * 0.5 / noise.size**0.5
    assert noise.var() == pytest.approx(0.25, abs=5 * 0.25 * (2 / noise.size) ** 0.5)
    nearly = defense.protect(np.nextafter(sent, np.float32(9)), draws) - sent
    assert abs(np.corrcoef(nearly.ravel(), noise.ravel())[0, 1]) < 5 / noise.size**0.5


def test_the_secret_of_a_memo_is_of_one_device_and_in_no_file():
    sent = rng(1).normal(size=(3, 16)).astype(np.float32)
    one, other = CertifiedNoise(memo=True), CertifiedNoise(memo=True)
    assert not np.array_equal(one.protect(sent, rng(1)), other.protect(sent, rng(2)))
    assert one.learned == {}
    assert "secret" not in repr(one)
