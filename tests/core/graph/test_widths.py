"""A width that the forward pass uses as a number: a fold changes widths, and must not change what is computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pdc_core as pdc
from tests.networks import assert_sound, lively_, random_labels, reconstructed_and_folded

X = torch.randn(3, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


class Wide(nn.Module):
    """Wide features y = relu(a(x)), and a function of them and of the network."""

    def __init__(self, middle: Callable[[Any, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.bn, self.b = nn.Conv2d(2, 16, 3, padding=1), nn.BatchNorm2d(16), nn.Conv2d(2, 8, 1)
        self.e, self.read = nn.Conv2d(16, 8, 1), nn.Conv2d(8, 4, 1)
        self.middle = middle

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.middle(self, x, F.relu(self.bn(self.a(x))))).flatten(2).mean(2)


def attention(n: Any, x: Tensor, y: Tensor) -> Tensor:
    b, c, h, w = y.shape
    scores = (y.flatten(2).transpose(1, 2) @ y.flatten(2)) * c**-0.5
    return n.e(y) + (n.b(x).flatten(2) @ scores.softmax(-1)).view(b, -1, h, w)


def equalised(n: Any, x: Tensor, y: Tensor) -> Tensor:
    return n.e(y) * math.sqrt(2 / n.e.weight[0].numel())


NUMBERS: dict[str, Callable[[Any, Tensor, Tensor], Tensor]] = {
    # of another tensor than the one that meets the number
    "a divisor": lambda n, x, y: n.e(y) / y.size(1),
    "a power": lambda n, x, y: n.e(y) * y.shape[1] ** -0.5,
    "a root": lambda n, x, y: n.e(y) / math.sqrt(y.size(1)),
    "of all numbers": lambda n, x, y: (z := n.e(y)) * (z.numel() / y.numel()),
    "of several sizes": lambda n, x, y: n.e(y) / (y.shape[1] * y.shape[2] * y.shape[3]),
    "rounded off": lambda n, x, y: n.e(y) * (y.size(1) // 8),
    "the size of a window": lambda n, x, y: F.max_pool2d(n.e(y), y.size(1) // 8),
    "the size of the output": lambda n, x, y: F.adaptive_avg_pool2d(n.e(y), y.size(1) // 4),
    "a border": lambda n, x, y: F.pad(n.e(y), (0, 0, 0, y.size(1) // 4)),
    "a cut": lambda n, x, y: n.e(y)[:, :, : y.size(1) // 4],
    "in a made tensor": lambda n, x, y: n.e(y) * (torch.arange(8, dtype=y.dtype) / y.size(1)),
    "of a parameter": lambda n, x, y: n.e(y) / n.e.weight.shape[1],
    "an epsilon": lambda n, x, y: F.layer_norm(n.e(y), (8, 8), eps=1 / y.size(1)),
    "a filling": lambda n, x, y: torch.cat([n.e(y)[:, :, :4], y.new_full((y.size(0), 8, 4, 8), 1 / y.size(1))], 2),
    "written": lambda n, x, y: (z := n.e(y).clone(), z[:, :, 0].fill_(1.0), z * y.size(1))[2],
    "attention": attention,
    # which layers hold as plain numbers
    "of a layer": lambda n, x, y: n.e(y) / math.sqrt(n.e.in_channels),
    "of a norm": lambda n, x, y: n.e(y) * n.bn.num_features**-0.5,
    "a branch": lambda n, x, y: n.e(y) if n.a.out_channels > 10 else n.e(y) * 3,
    "all parameters": lambda n, x, y: n.e(y) / sum(p.numel() for p in n.e.parameters()),
    "equalised learning rate": equalised,
}


@pytest.mark.parametrize("residual", ["internal", "shared", "gather"])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_width_that_is_a_number_stays_the_number_it_was(name: str, residual: str) -> None:
    for keep in (0.2, 0.6):
        assert_sound(lively_(Wide(NUMBERS[name])), X, residual, keep)


@pytest.mark.parametrize("name", ["a divisor", "a root", "the size of a window", "of a parameter"])
def test_layers_whose_width_is_a_number_are_merged_all_the_same(name: str) -> None:
    net = lively_(Wide(NUMBERS[name]))
    graph = pdc.trace(net, X[:1], "shared")
    merged = {group.name for group in graph.clusterable}
    assert merged == {"a", "e"}
    tied, small = reconstructed_and_folded(net, graph, random_labels(graph, 0.5))
    assert pdc.check_equal(tied, small, torch.randn(2, 2, 12, 12, dtype=torch.float64)).relative <= 1e-9


def test_numbers_of_widths_and_of_pixels_together_are_followed() -> None:
    net = lively_(Wide(lambda n, x, y: n.e(y) * int(y.size(2) * 0.5) / y.size(1)))
    graph = pdc.trace(net, X[:1], "shared")
    tied, small = reconstructed_and_folded(net, graph, random_labels(graph, 0.5))
    assert pdc.check_equal(tied, small, X).relative <= 1e-9


def test_what_only_values_tell_is_refused_with_the_line() -> None:
    for middle in (lambda n, x, y: n.e(y) / y.max().item(), lambda n, x, y: n.e(y) / y[y > 0].mean()):
        with pytest.raises(pdc.Untraceable, match=r"in test_widths\.py, line \d+: "):
            pdc.trace(lively_(Wide(middle)), X[:1])
