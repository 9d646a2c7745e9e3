"""VGG-16 with batch norm for small images: the plain chain of the pruning literature.

Thirteen 3x3 convolutions and one linear layer, as Li et al. (arXiv 1608.08710) prune it on CIFAR-10.
"""

from __future__ import annotations

from torch import Tensor, nn

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # planes, convolutions; each stage ends in a pooling


class VGG16(nn.Module):
    """VGG-16-BN for images of any size.

    Parameters
    ----------
    in_channels, n_classes : int
        Channels of the images, outputs of the network.
    """

    def __init__(self, in_channels: int, n_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for planes, convolutions in STAGES:
            for _ in range(convolutions):
                layers += [nn.Conv2d(in_channels, planes, 3, padding=1, bias=False), nn.BatchNorm2d(planes), nn.ReLU()]
                in_channels = planes
            layers.append(nn.MaxPool2d(2, ceil_mode=True))  # an image of one pixel stays one
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(in_channels, n_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.features(x))
        return self.classifier(x.flatten(1))
