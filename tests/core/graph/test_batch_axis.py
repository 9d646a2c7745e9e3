"""Networks in which the batch is not the first axis everywhere: its size stays open, and what is folded is exact."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import pdc_core as pdc
from tests.networks import assert_sound, lively_, random_labels, reconstructed_and_folded


class PixelsFirst(nn.Module):
    """Attention written by hand over (pixels, batch, channels), with sizes that must be numbers."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.a, self.b = nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 8, 3, padding=1)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.qkv, self.mix, self.read = nn.Linear(8, 24), nn.Linear(8, 6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.a(x).relu())
        height, width = x.shape[2:]
        scale = math.sqrt(height * width)
        x = x.flatten(2).permute(2, 0, 1)
        x = torch.cat([self.token.expand(-1, x.size(1), -1), x])
        pixels, batch, channels = x.shape
        parts = [p.reshape(pixels, batch * self.heads, channels // self.heads) for p in self.qkv(x).chunk(3, -1)]
        q, k, v = (p.transpose(0, 1) for p in parts)
        y = (q @ k.transpose(1, 2) / scale).softmax(-1) @ v
        y = y.transpose(0, 1).reshape(pixels, batch, channels)
        return self.read(self.mix(y).relu().mean(0))


@pytest.mark.parametrize("residual", ["internal", "shared", "gather"])
@pytest.mark.parametrize("heads", [1, 2])
def test_pixels_before_the_batch(heads: int, residual: str) -> None:
    net = lively_(PixelsFirst(heads))
    images = torch.randn(5, 3, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    graph = assert_sound(net, images, residual)
    assert {"a", "mix"} <= {g.name for g in graph.clusterable}


class Branches(nn.Module):
    """Branches side by side on an axis before the batch's, weighed by numbers that are learned."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.branches = nn.ModuleList(nn.Conv2d(6, 8, k, padding=k // 2) for k in (1, 3, 5))
        self.read = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        made = torch.stack([branch(x) for branch in self.branches])
        if made.shape[2] == 8 and len(made) == 3:
            made = made.relu()
        return self.read(made.sum(0) / made.size(1)).mean((2, 3)) * made.size(1)


def test_stacked_branches_are_tied_and_the_batch_stays_open() -> None:
    net = lively_(Branches())
    graph = assert_sound(net, torch.randn(4, 3, 8, 8, dtype=torch.float64))
    assert sorted(g.name for g in graph.clusterable) == ["branches.0", "stem"]


class Unflattened(nn.Module):
    """Pairs of channels that change places; both tensors are read."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.read = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.a(x).unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2))


def test_a_folded_axis_is_split_for_images_of_every_size() -> None:
    net = lively_(Unflattened())
    graph = pdc.trace(net, torch.zeros(1, 3, 8, 8, dtype=torch.float64))
    tied, small = reconstructed_and_folded(net, graph, random_labels(graph, 0.5))
    assert len(graph.clusterable) == 1
    for size in (8, 12):
        assert pdc.check_equal(tied, small, torch.randn(2, 3, size, size, dtype=torch.float64)).equal
