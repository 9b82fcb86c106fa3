"""MNIST, and what an attacker on it holds."""

import pytest

from cutlayer.attacks.gradients.view import UpdateView
from cutlayer.data.load import data_root
from cutlayer.data.mnist import load_mnist
from cutlayer.data.splits import Splits


@pytest.fixture(scope="session")
def mnist() -> Splits:
    """MNIST; tests of it are skipped where it is not here."""
    if not (data_root() / "MNIST").is_dir():
        pytest.skip("MNIST is not here")
    return load_mnist(data_root(), 0)


@pytest.fixture(scope="session")
def mnist_view(mnist) -> UpdateView:
    """An attacker with 500 images of MNIST."""
    return UpdateView(input=mnist.input, classes=10, auxiliary=mnist.auxiliary.take(500))
