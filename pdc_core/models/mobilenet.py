"""MobileNetV2 for small images: inverted residuals and depthwise convolutions.

Widths and expansions are those of Sandler et al. (arXiv 1801.04381); two of the five halvings are left out, so that
an image of 32x32 pixels ends as 4x4.
"""

from __future__ import annotations

from torch import Tensor, nn

STAGES = (  # expansion, planes, blocks, stride of the first block
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _conv(in_planes: int, planes: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    padding = kernel // 2
    return [nn.Conv2d(in_planes, planes, kernel, stride, padding, groups=groups, bias=False), nn.BatchNorm2d(planes)]


class InvertedResidual(nn.Module):
    """Expand, filter each channel by itself, project; with a shortcut if shapes allow it.

    Parameters
    ----------
    in_planes, planes : int
        Channels in and out.
    stride : int
        1 or 2.
    expansion : int
        Hidden channels per input channel, 1 or more.
    """

    def __init__(self, in_planes: int, planes: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_planes * expansion
        layers = [*_conv(in_planes, hidden), nn.ReLU6()] if expansion > 1 else []
        layers += [*_conv(hidden, hidden, 3, stride, hidden), nn.ReLU6(), *_conv(hidden, planes)]
        self.conv = nn.Sequential(*layers)
        self.shortcut = stride == 1 and in_planes == planes

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """MobileNetV2 for images of 8x8 pixels and more.

    Parameters
    ----------
    in_channels, n_classes : int
        Channels of the images, outputs of the network.
    """

    def __init__(self, in_channels: int, n_classes: int) -> None:
        super().__init__()
        layers, planes = [*_conv(in_channels, 32, 3), nn.ReLU6()], 32
        for expansion, out, blocks, stride in STAGES:
            for i in range(blocks):
                layers.append(InvertedResidual(planes, out, stride if i == 0 else 1, expansion))
                planes = out
        layers += [*_conv(planes, 1280), nn.ReLU6()]
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(1280, n_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.features(x))
        return self.classifier(x.flatten(1))
