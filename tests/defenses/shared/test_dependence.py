import numpy as np
import pytest
import torch

from cutlayer.defenses.shared.dependence import (
    distance_correlation,
    gaussian_kernel,
    hsic,
    label_kernel,
    squared_distances,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_definition(x: np.ndarray, y: np.ndarray) -> float:
    """Székely, Rizzo, Bakirov 2007, definition 4, in float64."""
    centered = []
    for samples in (x, y):
        flat = samples.reshape(len(samples), -1).astype(np.float64)
        d = np.array([[np.linalg.norm(a - b) for b in flat] for a in flat])
        centered.append(d - d.mean(0) - d.mean(1)[:, None] + d.mean())
    a, b = centered
    return np.sqrt((a * b).mean() / np.sqrt((a * a).mean() * (b * b).mean()))


def test_the_distance_correlation_with_a_parabola_is_about_a_half():
    # With squared distances it would be the correlation of x and x^2, which is 0.
    x = torch.rand(2000, 1, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert float(distance_correlation(x, x**2)) == pytest.approx(0.50, abs=0.02)


def test_distance_correlation_is_that_of_the_definition():
    x, y = normal(20, 3, 4, 4), normal(20, 7, seed=1)
    y[:, 0] += x[:, 0, 0, 0]
    assert float(distance_correlation(x, y)) == pytest.approx(by_definition(x.numpy(), y.numpy()), abs=1e-5)


def test_distance_correlation_knows_no_scale_and_no_origin():
    x, y = normal(30, 5), normal(30, 8, seed=1)
    expected = float(distance_correlation(x, y))
    for other in (y * 1e-4, y * 1e4, y + 100):
        assert float(distance_correlation(x, other)) == pytest.approx(expected, abs=1e-4)
    assert float(distance_correlation(x, 3 * x - 2)) == pytest.approx(1, abs=1e-5)


def test_in_few_samples_of_many_dimensions_independence_looks_like_dependence():
    # The bias that the docstring warns of.
    few, many = (float(distance_correlation(normal(n, 500), normal(n, 500, seed=1))) for n in (16, 400))
    assert few > 0.9
    assert many < few


@pytest.mark.parametrize("batch", [1, 6])
def test_a_constant_depends_on_nothing_and_has_finite_gradients(batch):
    x = normal(batch, 4)
    constant = torch.ones(batch, 5, requires_grad=True)
    total = distance_correlation(x, constant) + hsic(gaussian_kernel(x), gaussian_kernel(constant))
    total.backward()
    assert float(total.detach()) == pytest.approx(0, abs=1e-5)
    assert torch.isfinite(constant.grad).all()


def test_equal_samples_have_finite_gradients():
    x = normal(4, 3)
    y = x[[0, 0, 1, 1]].clone().requires_grad_()
    distance_correlation(x, y).backward()
    assert torch.isfinite(y.grad).all()
    assert y.grad.any()


def test_the_gradients_are_those_of_the_values():
    x, y = normal(12, 3), normal(12, 6, seed=1).requires_grad_()
    (gradient,) = torch.autograd.grad(distance_correlation(x, y), y)
    step = 1e-2 * gradient / gradient.norm()
    with torch.no_grad():
        slope = float(distance_correlation(x, y + step) - distance_correlation(x, y - step)) / 2e-2
    assert slope == pytest.approx(float(gradient.norm()), rel=0.02)
    kernels = gaussian_kernel(x).double(), gaussian_kernel(y).detach().double().requires_grad_()
    assert torch.autograd.gradcheck(hsic, kernels)


def test_distances_stay_exact_under_autocast():
    x = 100 + normal(8, 50)
    exact = torch.cdist(x.double(), x.double()).square()
    with torch.autocast("cpu", torch.bfloat16):
        distances = squared_distances(x)
    assert distances.dtype == torch.float32
    torch.testing.assert_close(distances.double(), exact, rtol=1e-4, atol=1e-3)


def test_hsic_is_the_trace_of_the_normalized_operators():
    kernels = [gaussian_kernel(normal(10, 4), sigma=1), label_kernel(torch.arange(10) % 3)]
    center = np.eye(10) - 1 / 10
    parts = []
    for kernel in kernels:
        k = center @ kernel.numpy().astype(np.float64) @ center
        parts.append(k @ np.linalg.inv(k + 1e-5 * 10 * np.eye(10)))
    assert float(hsic(*kernels)) == pytest.approx(np.trace(parts[0] @ parts[1]), rel=1e-3)


def test_hsic_is_high_for_dependence_and_low_for_none():
    labels = torch.arange(60) % 3
    x = torch.nn.functional.one_hot(labels, 3).float()
    other = normal(60, 3)
    assert float(hsic(gaussian_kernel(x), label_kernel(labels))) == pytest.approx(2, abs=0.01)  # classes - 1
    assert float(hsic(gaussian_kernel(other, sigma=1e3), label_kernel(labels))) < 0.5
