"""A small LeNet for images of 8 px and more, without and with batch normalization.

LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", Proc. IEEE 86(11), 1998,
https://doi.org/10.1109/5.726791.

Differs from the paper: ReLU and greatest values in place of squashing and averages, both convolutions keep the size of
the image, and the second one sees all channels. Convolutions before a batch normalization have no bias, whose gradient
would be rounding noise that Adam turns into whole steps.
"""

from collections import OrderedDict

from torch import nn

from cutlayer.spec import TensorSpec, image_spec

MNIST = image_spec(1, 28, 28)


def lenet(input: TensorSpec = MNIST, classes: int = 10) -> nn.Module:
    """LeNet: ``conv1``, ``relu1``, ``pool1``, ``conv2``, ``relu2``, ``pool2``, ``flatten``, ``fc1`` to ``fc3``."""
    return _made(input, classes, normalized=False)


def lenet_bn(input: TensorSpec = MNIST, classes: int = 10) -> nn.Module:
    """LeNet with batch normalization: ``bn1`` and ``bn2`` behind the convolutions, else as lenet."""
    return _made(input, classes, normalized=True)


def _made(input: TensorSpec, classes: int, *, normalized: bool) -> nn.Module:
    channels, height, width = input.shape
    if min(height, width) < 8:
        raise ValueError("each side must be at least 8 px.")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for stage, out in enumerate((8, 16), start=1):
        layers[f"conv{stage}"] = nn.Conv2d(channels, out, 5, padding=2, bias=not normalized)
        if normalized:
            layers[f"bn{stage}"] = nn.BatchNorm2d(out)
        layers[f"relu{stage}"] = nn.ReLU()
        layers[f"pool{stage}"] = nn.MaxPool2d(2)
        channels = out
    layers["flatten"] = nn.Flatten()
    layers["fc1"] = nn.Linear(channels * (height // 4) * (width // 4), 120)
    layers["relu3"] = nn.ReLU()
    layers["fc2"] = nn.Linear(120, 84)
    layers["relu4"] = nn.ReLU()
    layers["fc3"] = nn.Linear(84, classes)
    return nn.Sequential(layers)
