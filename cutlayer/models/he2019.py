"""The two victim networks of the first attacks on collaborative inference.

He, Zhang, Lee, "Model Inversion Attacks Against Collaborative Inference", ACSAC 2019,
https://doi.org/10.1145/3359789.3359824. Layers and their names as in the authors' code
(https://github.com/zechenghe/Inverse_Collaborative_Inference, commit f010aed, `net.py`).

Differs from the paper: the first fully connected layer fits the input, so that other image sizes work.
"""

from collections import OrderedDict
from math import prod

from torch import nn

from cutlayer.spec import TensorSpec, image_spec

MNIST, CIFAR10 = image_spec(1, 28, 28), image_spec(3, 32, 32)


def lenet(input: TensorSpec = MNIST, classes: int = 10) -> nn.Module:
    """LeNet for 28x28 digits. The paper cuts at ``conv1`` (8x24x24) and ``ReLU2`` (16x8x8)."""
    channels, height, width = input.shape
    area = prod(((side - 4) // 2 - 4) // 2 for side in _at_least(16, height, width))
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 8, 5),
            ReLU1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(8, 16, 5),
            ReLU2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(16 * area, 120),
            fc1act=nn.ReLU(),
            fc2=nn.Linear(120, 84),
            fc2act=nn.ReLU(),
            fc3=nn.Linear(84, classes),
        )
    )


def cifar10cnn(input: TensorSpec = CIFAR10, classes: int = 10) -> nn.Module:
    """Six convolutions for 32x32 photographs. The paper cuts at ``conv11``, ``ReLU22`` and ``ReLU32``."""
    channels, height, width = input.shape
    area = prod(side // 8 for side in _at_least(8, height, width))
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for stage, out in enumerate((64, 128, 128), start=1):
        for place in (1, 2):
            layers[f"conv{stage}{place}"] = nn.Conv2d(channels, out, 3, padding=1)
            layers[f"ReLU{stage}{place}"] = nn.ReLU()
            channels = out
        layers[f"pool{stage}"] = nn.MaxPool2d(2)
    layers["flatten"] = nn.Flatten()
    layers["fc1"] = nn.Linear(channels * area, 512)
    layers["fc1act"] = nn.Sigmoid()
    layers["fc2"] = nn.Linear(512, classes)
    return nn.Sequential(layers)


def _at_least(least: int, *sides: int) -> tuple[int, ...]:
    if min(sides) < least:
        raise ValueError(f"each side must be at least {least} px.")
    return sides
