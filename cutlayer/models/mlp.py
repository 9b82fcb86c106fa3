"""A fully connected network, for inputs of any kind: images, and rows of tables."""

from collections import OrderedDict

from torch import nn

from cutlayer.spec import TensorSpec, image_spec

MNIST = image_spec(1, 28, 28)
WIDTH = 256


def mlp(input: TensorSpec = MNIST, classes: int = 10) -> nn.Module:
    """Two layers of 256 with ReLU, and one that gives the logits."""
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            fc1=nn.Linear(input.size, WIDTH),
            relu1=nn.ReLU(),
            fc2=nn.Linear(WIDTH, WIDTH),
            relu2=nn.ReLU(),
            fc3=nn.Linear(WIDTH, classes),
        )
    )
