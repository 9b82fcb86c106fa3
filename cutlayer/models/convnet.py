"""A small convolutional network without normalization layers, for photographs of about 32 px.

J. Geiping, H. Bauermeister, H. Dröge, M. Moeller, "Inverting Gradients - How easy is it to break privacy in federated
learning?", NeurIPS 2020, https://arxiv.org/abs/2003.14053, attacks networks of this kind.

Differs from the paper: three convolutions in place of eight and no batch normalization, so that an attack of some
thousand steps takes minutes on a processor.
"""

from collections import OrderedDict

from torch import nn

from cutlayer.spec import TensorSpec, image_spec

CIFAR10 = image_spec(3, 32, 32)


def convnet(input: TensorSpec = CIFAR10, classes: int = 10) -> nn.Module:
    """Three convolutions of 3x3 with ReLU, the last two with stride 2, and one fully connected layer."""
    channels, height, width = input.shape
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for stage, (out, stride) in enumerate(((32, 1), (64, 2), (64, 2)), start=1):
        layers[f"conv{stage}"] = nn.Conv2d(channels, out, 3, padding=1, stride=stride)
        layers[f"relu{stage}"] = nn.ReLU()
        channels, height, width = out, -(-height // stride), -(-width // stride)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(channels * height * width, classes)
    return nn.Sequential(layers)
