"""Models whose outputs depend on their inputs, so that a wrong half cannot go unnoticed."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from torch import fx, nn

from cutlayer.models.zoo import build
from cutlayer.spec import TensorSpec
from cutlayer.tensors import random


def random_inputs(spec: TensorSpec, n: int) -> torch.Tensor:
    """Random inputs of any kind, the same at each call."""
    return torch.from_numpy(random(spec, n, np.random.default_rng(n)))


Lively = Callable[[str, TensorSpec], fx.GraphModule]


@pytest.fixture(scope="session")
def lively() -> Lively:
    """Builds a model by name, once for all tests, which leave it as it is.

    Fresh weights alone give many models a constant output: ConvNeXt scales its branches by 1e-6, a chain of
    convolutions fades as torch initializes it, and so does batch normalization that has measured nothing yet.
    """

    @cache
    def make(name: str, image: TensorSpec) -> fx.GraphModule:
        model = build(name, image, classes=10)
        torch.manual_seed(0)
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
        for parameter in model.parameters():
            if parameter.abs().max() < 1e-3:
                nn.init.normal_(parameter, std=0.1)
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
        with torch.no_grad():
            model.train()(random_inputs(image, 8))
        return model.eval()

    return make
