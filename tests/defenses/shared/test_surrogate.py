import numpy as np
import pytest
import torch

from cutlayer.data.splits import Dataset
from cutlayer.defenses.shared.surrogate import MEASURES, Surrogate
from cutlayer.errors import ConfigError
from tests.defenses.victims import smooth_images

CPU = torch.device("cpu")
each_measure = pytest.mark.parametrize("measure", MEASURES)


def images(n: int = 32) -> torch.Tensor:
    return torch.from_numpy(smooth_images(n).train.inputs)


def smashed(x: torch.Tensor) -> torch.Tensor:
    """What a head of one average pooling and a change of scale would send."""
    return 30 + 10 * torch.nn.functional.avg_pool2d(x, 2).repeat(1, 2, 1, 1)


def surrogate(measure: str = "ssim", seed: int = 0) -> Surrogate:
    return Surrogate("conv_normN0C16", (2, 8, 8), (1, 16, 16), seed, CPU, measure, lr=1e-2)


@each_measure
def test_it_learns_to_rebuild(measure):
    x, attacker = images(), surrogate(measure)
    before = float(attacker.quality(smashed(x), x))
    first = float(attacker.learn(smashed(x), x))
    for _ in range(40):
        attacker.learn(smashed(x), x)
    after = float(attacker.quality(smashed(x), x))
    assert max(before, first) < after
    assert after > {"ssim": 0.9, "mse": -0.01}[measure]


@each_measure
def test_a_step_down_its_gradient_lowers_its_quality(measure):
    x, attacker = images(), surrogate(measure)
    for _ in range(20):
        attacker.learn(smashed(x), x)
    z = smashed(x).requires_grad_()
    (gradient,) = torch.autograd.grad(attacker.quality(z, x), z)
    step = 0.1 * gradient.sign()
    assert attacker.quality(z - step, x) < attacker.quality(z, x) < attacker.quality(z + step, x)


def test_the_head_gets_no_gradient_from_learning_and_the_decoder_none_from_its_rating():
    x, attacker = images(), surrogate()
    z = smashed(x).requires_grad_()
    attacker.learn(z, x)
    assert z.grad is None
    before = [p.clone() for p in attacker.network.parameters()]
    for p in attacker.network.parameters():
        p.grad = None
    attacker.quality(z, x).backward()
    assert float(z.grad.abs().sum()) > 0
    assert all(p.grad is None for p in attacker.network.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, attacker.network.parameters(), strict=True))


def test_it_works_within_a_caller_in_half_precision():
    x, inside, outside = images(), surrogate(), surrogate()
    for _ in range(5):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            within = inside.learn(smashed(x).bfloat16(), x)
        without = outside.learn(smashed(x), x)
    assert within.dtype == torch.float32
    assert float(within) == pytest.approx(float(without), abs=0.05)


def test_each_step_goes_on_from_the_one_before_however_long_the_caller_stays_in_half_precision():
    x, inside, outside = images(), surrogate(), surrogate()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for _ in range(30):
            within = inside.learn(smashed(x), x)
    for _ in range(30):
        without = outside.learn(smashed(x), x)
    assert float(within) == pytest.approx(float(without), abs=0.05)


def test_pretraining_follows_from_the_seed():
    x = images(70)
    data = Dataset(x.numpy(), np.zeros(70, np.int64))
    first, same, other = surrogate(), surrogate(), surrogate(seed=1)
    for attacker in (first, same, other):
        attacker.pretrain(smashed, data, epochs=2, batch=32)
    rated = [float(attacker.quality(smashed(x), x)) for attacker in (first, same, other)]
    assert rated[0] == rated[1] != rated[2]
    assert rated[0] > float(surrogate().quality(smashed(x), x))


def test_unknown_measures_and_capacities_are_refused():
    with pytest.raises(ConfigError, match="ssim or mse"):
        surrogate("psnr")
    with pytest.raises(ConfigError, match="no decoder"):
        Surrogate("huge", (2, 8, 8), (1, 16, 16), 0, CPU)
