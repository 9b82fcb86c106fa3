"""VGG-11 with batch normalization for 32x32 images, the victim of ResSFL and CEM.

Li et al., "ResSFL: A Resistance Transfer Framework for Defending Model Inversion Attack in Split Federated
Learning", CVPR 2022, https://arxiv.org/abs/2205.04007. Reference code https://github.com/zlijingtao/ResSFL,
commit 68d6165. The features are numbered as in torchvision; the classifier is small, because that of torchvision would
get 49 copies of the one pixel that is left of a 32x32 image.

`vgg11_slim` is the same network with a quarter of the channels. It computes 15 times less, so that a processor without
bfloat16 trains it in seconds.

Differs from the paper: images of up to 64 px work, because the pixels that are left of them are averaged.
"""

from torch import Tensor, nn

from cutlayer.spec import TensorSpec, image_spec

SMALL = image_spec(3, 32, 32)
LARGEST = 64
"""Side in pixels of the largest image that this variant is meant for."""

_FEATURES = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool")


def vgg11_bn(input: TensorSpec, classes: int) -> nn.Module:
    """VGG-11-BN for images of 32 to 64 px: ``features.N``, ``avgpool``, ``classifier.N``."""
    return _VGG(input.shape[0], classes, 1)


def vgg11_slim(input: TensorSpec = SMALL, classes: int = 10) -> nn.Module:
    """VGG-11-BN with a quarter of the channels: ``features.N``, ``avgpool``, ``classifier.N``."""
    return _VGG(input.shape[0], classes, 4)


class _VGG(nn.Module):
    """`slimmer` divides the number of channels of every layer."""

    def __init__(self, channels: int, classes: int, slimmer: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for feature in _FEATURES:
            if isinstance(feature, int):
                out = feature // slimmer
                convolution = nn.Conv2d(channels, out, 3, padding=1)
                nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
                layers += [convolution, nn.BatchNorm2d(out), nn.ReLU()]
                channels = out
            else:
                layers += [nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        width = 512 // slimmer
        hidden = [nn.Dropout(), nn.Linear(channels, width), nn.ReLU(), nn.Dropout(), nn.Linear(width, width), nn.ReLU()]
        self.classifier = nn.Sequential(*hidden, nn.Linear(width, classes))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return logits
