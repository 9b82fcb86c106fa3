"""The LeNet with sigmoids on which gradients were first matched.

L. Zhu, Z. Liu, S. Han, "Deep Leakage from Gradients", NeurIPS 2019, https://arxiv.org/abs/1906.08935. Layers and their
first weights as in the authors' code (https://github.com/mit-han-lab/dlg, commit d21007f, `models/vision.py`).

Differs from the paper: the fully connected layer fits the input, so that other image sizes work.
"""

from collections import OrderedDict

import torch
from torch import nn

from cutlayer.spec import TensorSpec, image_spec

MNIST = image_spec(1, 28, 28)


def dlg_lenet(input: TensorSpec = MNIST, classes: int = 10) -> nn.Module:
    """Three convolutions with sigmoids and one fully connected layer; all weights begin uniform in [-0.5, 0.5]."""
    channels, height, width = input.shape
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for stage, stride in enumerate((2, 2, 1), start=1):
        layers[f"conv{stage}"] = nn.Conv2d(channels, 12, 5, padding=2, stride=stride)
        layers[f"sigmoid{stage}"] = nn.Sigmoid()
        channels, height, width = 12, -(-height // stride), -(-width // stride)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(channels * height * width, classes)
    model = nn.Sequential(layers)
    with torch.no_grad():
        for p in model.parameters():
            p.uniform_(-0.5, 0.5)
    return model
