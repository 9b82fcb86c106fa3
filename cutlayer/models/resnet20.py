"""ResNet-20 for 32x32 images.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, https://arxiv.org/abs/1512.03385,
section 4.2: three stages of three blocks with 16, 32 and 64 channels, and shortcuts without parameters (option A).
"""

from torch import Tensor, nn
from torch.nn import functional

from cutlayer.spec import TensorSpec, image_spec

CIFAR10 = image_spec(3, 32, 32)


def resnet20(input: TensorSpec = CIFAR10, classes: int = 10) -> nn.Module:
    """ResNet-20: ``conv1``, ``bn1``, ``relu``, ``layer1.0`` to ``layer3.2``, ``avgpool``, ``flatten``, ``fc``."""
    return _ResNet(input.shape[0], classes)


class _ResNet(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(_Block(16, 16), _Block(16, 16), _Block(16, 16))
        self.layer2 = nn.Sequential(_Block(16, 32), _Block(32, 32), _Block(32, 32))
        self.layer3 = nn.Sequential(_Block(32, 64), _Block(64, 64), _Block(64, 64))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(self.flatten(self.avgpool(x)))
        return logits


class _Block(nn.Module):
    """Two convolutions and a shortcut; a block that doubles the channels halves the image."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.stride = out // channels
        self.missing = out - channels
        self.conv1 = nn.Conv2d(channels, out, 3, stride=self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.missing:
            # The shortcut takes every second pixel, and zeros for the missing channels.
            half = self.missing // 2
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
        y = self.relu(y + x)
        return y
