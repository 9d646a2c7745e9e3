"""Activations: those that the network itself computes, seen where its readers see them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import pdc_core as pdc
from pdc_core.analysis.activations import activation_maps, activation_rates
from tests.networks import chain, lively_

NET = lively_(chain())
GRAPH = pdc.trace(NET, torch.zeros(1, 2, 6, 6))
IMAGES = torch.rand(130, 2, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_maps_and_rates_are_those_of_the_layers_run_by_hand() -> None:
    with torch.no_grad():
        first, second = NET[:3](IMAGES), NET[:7](IMAGES)  # after the first ReLU; after pooling
        last = NET[:10](IMAGES)
    rates = activation_rates(NET, GRAPH, IMAGES)
    assert rates["0"] == pytest.approx((first > 0).double().mean(dim=(0, 2, 3)).numpy())
    assert rates["3"] == pytest.approx((second > 0).double().mean(dim=(0, 2, 3)).numpy())
    assert rates["8"] == pytest.approx((last > 0).double().mean(dim=0).numpy())
    maps = activation_maps(NET, GRAPH.group("0"), IMAGES, [4, 1])
    assert np.allclose(maps, first[:, [4, 1]].movedim(1, 0).numpy(), atol=1e-5)
    assert np.allclose(
        activation_maps(NET, GRAPH.group("3"), IMAGES, [7]), second[:, [7]].movedim(1, 0).numpy(), atol=1e-5
    )
    assert activation_maps(NET, GRAPH.group("8"), IMAGES, [0, 1]).shape == (2, 130, 1, 1)


def test_no_hook_stays_behind() -> None:
    activation_rates(NET, GRAPH, IMAGES[:2])
    assert not any(module._forward_pre_hooks for module in NET.modules())


def test_a_group_that_nothing_reads_has_no_maps() -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 1)).eval()
    group = pdc.trace(net, torch.zeros(1, 2, 6, 6)).group("0")
    with pytest.raises(pdc.PDCError, match="Nothing reads"):
        activation_maps(net, group, torch.zeros(1, 2, 6, 6), [0])
