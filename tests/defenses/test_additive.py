import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.data.splits import Dataset, Splits
from cutlayer.errors import ConfigError
from cutlayer.models.split import split
from cutlayer.registry import DEFENSES
from cutlayer.spec import image_spec
from defenses.gaussian_noise import GaussianNoise
from defenses.laplace_noise import LaplaceNoise

NOISES = [GaussianNoise(0.5), LaplaceNoise(0.5)]
each_noise = pytest.mark.parametrize("noise", NOISES, ids=repr)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@each_noise
def test_shape_and_dtype_stay_and_the_input_is_not_written_to(noise):
    for dtype in (np.float32, np.float64):
        smashed = np.ones((2, 3, 4, 4), dtype)
        released = noise.protect(smashed, rng())
        assert released.shape == smashed.shape
        assert released.dtype == dtype
        assert np.isfinite(released).all()
        assert (smashed == 1).all()


@each_noise
def test_device_and_attacker_get_the_same_noise_from_the_same_draws(noise):
    smashed = rng(1).random((2, 3, 4, 4), np.float32)
    on_device, at_attacker = noise.protect(smashed, rng()), noise.protect(torch.from_numpy(smashed), rng())
    assert isinstance(at_attacker, torch.Tensor)
    assert np.array_equal(on_device, at_attacker.numpy())
    assert np.array_equal(on_device, noise.protect(smashed, rng()))


@each_noise
def test_each_release_and_each_element_has_noise_of_its_own(noise):
    generator, smashed = rng(), np.zeros((2, 50), np.float32)
    first, second = noise.protect(smashed, generator), noise.protect(smashed, generator)
    assert len(np.unique(np.concatenate([first, second]))) == 200


@each_noise
def test_gradients_flow_through(noise):
    smashed = torch.ones(2, 3, requires_grad=True)
    noise.protect(smashed, rng()).sum().backward()
    assert torch.equal(smashed.grad, torch.ones(2, 3))


@pytest.mark.parametrize(
    ("noise", "std", "fourth_over_square"),
    [(GaussianNoise(0.7), 0.7, 3), (LaplaceNoise(0.7), 0.7 * math.sqrt(2), 6)],
    ids=repr,
)
def test_the_noise_on_the_wire_has_the_stated_strength_and_shape(noise, std, fourth_over_square):
    n = 400_000
    sample = noise.protect(np.zeros(n, np.float32), rng()).astype(np.float64)
    kurtosis = np.mean(sample**4) / np.mean(sample**2) ** 2
    assert abs(sample.mean()) < 4 * std / math.sqrt(n)
    assert abs(sample.var() / std**2 - 1) < 4 * math.sqrt((fourth_over_square - 1) / n)
    assert kurtosis == pytest.approx(fourth_over_square, rel=0.05)
    assert abs(np.corrcoef(sample[:-1], sample[1:])[0, 1]) < 4 / math.sqrt(n)


@pytest.mark.parametrize("noise", [GaussianNoise(0.0), LaplaceNoise(0.0)], ids=repr)
def test_strength_zero_is_the_undefended_baseline_bit_for_bit(noise):
    smashed = np.array([[-0.0, np.pi]], np.float32)
    assert not noise.random
    assert noise.protect(smashed, rng()).tobytes() == smashed.tobytes()


@pytest.mark.parametrize("kind", [GaussianNoise, LaplaceNoise])
@pytest.mark.parametrize("options", [(-0.1,), (float("nan"),), (float("inf"),), (0.1, -1)])
def test_an_impossible_option_is_refused(kind, options):
    with pytest.raises(ConfigError, match=f"{kind.__name__}.* must be 0 or more"):
        kind(*options)


@pytest.mark.parametrize(("name", "option"), [("gaussian-noise", "sigma"), ("laplace-noise", "scale")])
def test_the_registry_makes_them_and_checks_types(name, option):
    noise = DEFENSES.make(name, **{option: 0.25}, noise_aware_epochs=2)
    assert noise.random
    assert repr(noise).endswith(f"({option}=0.25, noise_aware_epochs=2, bound='none')")
    with pytest.raises(ConfigError, match="must be of type float"):
        DEFENSES.make(name, **{option: "loud"})


def small_split_and_data():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()
    generator = rng()
    labels = generator.integers(2, size=96)
    images = (generator.random((96, 1, 8, 8)) * 0.5 + labels[:, None, None, None] * 0.4).astype(np.float32)
    data = Dataset(images, labels)
    return split(model, "2", image_spec(1, 8, 8)), Splits("made", ("dark", "bright"), data, data, data, data)


def test_without_noise_aware_epochs_the_model_stays_as_it_is():
    halves, data = small_split_and_data()
    assert GaussianNoise(0.5).harden(halves, data, 0) is halves


def test_noise_aware_training_helps_the_tail_and_touches_nothing_else():
    halves, data = small_split_and_data()
    head, tail = ({k: v.clone() for k, v in half.state_dict().items()} for half in (halves.head, halves.tail))
    noise = GaussianNoise(0.2, noise_aware_epochs=30)
    hardened = noise.harden(halves, data, 0)

    assert all(torch.equal(v, halves.head.state_dict()[k]) for k, v in head.items())
    assert all(torch.equal(v, halves.tail.state_dict()[k]) for k, v in tail.items())
    assert hardened.head is halves.head
    assert not any(module.training for half in (hardened.head, hardened.tail) for module in half.modules())

    smashed = noise.protect(halves.head(torch.from_numpy(data.test.images)).detach(), rng(5))
    right = [(half.tail(smashed).argmax(1).numpy() == data.test.labels).mean() for half in (halves, hardened)]
    assert right[1] > right[0]
    assert right[1] > 0.8


def test_the_device_needs_no_torch_for_them():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np\n"
        "from defenses.gaussian_noise import GaussianNoise\n"
        "from defenses.laplace_noise import LaplaceNoise\n"
        "for noise in (GaussianNoise(1.0), LaplaceNoise(1.0)):\n"
        "    assert noise.protect(np.zeros((1, 2), np.float32), np.random.default_rng(0)).any()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
