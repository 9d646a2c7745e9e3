"""The residual networks for small images of He et al. 2016 (arXiv 1512.03385, section 4.2).

Submodules are named as in the published CIFAR-10 checkpoints (conv1, bn1, layer1.0.conv1, ..., linear), so
that those load as they are. Every forward pass can be traced by torch.fx.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (16, 32, 64)


class PadShortcut(nn.Module):
    """Take every second pixel and add channels of zeros on both sides (option A: a shortcut without weights).

    A quarter of the output channels is added on each side, as in the published checkpoints.

    Parameters
    ----------
    planes : int
        Output channels, a multiple of 4.
    """

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.padding = planes // 4

    def forward(self, x: Tensor) -> Tensor:  # (b, planes / 2, h, w) -> (b, planes, ceil(h / 2), ceil(w / 2))
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))


class BasicBlock(nn.Module):
    """Add a shortcut to two 3x3 convolutions; the first of them can be clustered freely.

    Parameters
    ----------
    in_planes, planes : int
        Channels in and out.
    stride : int
        1 or 2.
    option : {"A", "B"}
        Shortcut where the shape changes, see `ResNet`.
    """

    def __init__(self, in_planes: int, planes: int, stride: int, option: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut: nn.Module
        if stride == 1 and in_planes == planes:
            self.shortcut = nn.Identity()
        elif option == "A":
            self.shortcut = PadShortcut(planes)
        else:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_planes, planes, 1, stride=stride, bias=False), nn.BatchNorm2d(planes)
            )

    def forward(self, x: Tensor) -> Tensor:  # (b, in_planes, h, w) -> (b, planes, h / stride, w / stride)
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class ResNet(nn.Module):
    """Stack three stages of `blocks` basic blocks each, 16, 32 and 64 channels wide.

    Parameters
    ----------
    blocks : int
        Blocks per stage (n); the depth is 6 n + 2.
    in_channels, n_classes : int
        Channels of the images, outputs of the network.
    option : {"A", "B"}, default "A"
        Shortcut between stages: every second pixel, padded with zeros (A, no weights), or a 1x1 projection with norm
        (B).
    """

    def __init__(self, blocks: int, in_channels: int, n_classes: int, option: str = "A") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], blocks, 1, option)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], blocks, 2, option)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], blocks, 2, option)
        self.linear = nn.Linear(WIDTHS[2], n_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:  # (b, in_channels, h, w) -> (b, n_classes)
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        return self.linear(torch.flatten(F.adaptive_avg_pool2d(out, 1), 1))


def _stage(in_planes: int, planes: int, blocks: int, stride: int, option: str) -> nn.Sequential:
    first = BasicBlock(in_planes, planes, stride, option)
    return nn.Sequential(first, *(BasicBlock(planes, planes, 1, option) for _ in range(blocks - 1)))
