"""Re-estimated norm statistics are the means over batches, and nothing else of the network changes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import pdc_core as pdc
from pdc_core.data import Split
from pdc_core.norms import recalibrate_, reestimate_norms_
from pdc_core.seeds import generator

DIGITS = pdc.load_data("digits")
X = DIGITS.prepare(DIGITS.train.images[:10])


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4, momentum=0.3),
        nn.BatchNorm2d(4, track_running_stats=False), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 10),
    ).eval()  # fmt: skip


def by_definition(net: nn.Sequential, batches: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """The mean over batches of each norm's batch statistics, all layers before it normalising by the batch."""
    statistics: dict[int, list[tuple[Tensor, Tensor]]] = {1: [], 4: []}
    for x in batches:
        for i, layer in enumerate(net[:5]):
            if i not in statistics:
                x = layer(x)
                continue
            mean, var = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3))
            statistics[i].append((mean, var))
            biased = x.var(dim=(0, 2, 3), unbiased=False)
            normed = (x - mean[:, None, None]) / (biased[:, None, None] + layer.eps).sqrt()
            x = normed * layer.weight[:, None, None] + layer.bias[:, None, None]
    return [tuple(torch.stack(part).mean(dim=0) for part in zip(*found, strict=True)) for found in statistics.values()]


def chosen(seed: int, images: int, size: int) -> list[Tensor]:
    order = torch.randperm(len(DIGITS.train), generator=generator(seed, 0, 3))[:images]
    return [DIGITS.prepare(DIGITS.train.images[part]) for part in order.split(size)]


WAYS: dict[str, tuple[Callable[[nn.Module], nn.Module], list[Tensor]]] = {
    "images": (lambda net: reestimate_norms_(net, X, batch_size=4), [X[:4], X[4:7], X[7:]]),
    "no small batch at the end": (lambda net: reestimate_norms_(net, X, batch_size=9), [X[:5], X[5:]]),
    "a last image alone": (lambda net: reestimate_norms_(net, X[:3], batch_size=2), [X[:2]]),
    "chosen": (lambda net: recalibrate_(net, DIGITS, 200, seed=5, batch_size=64), chosen(5, 200, 50)),
}


@pytest.mark.parametrize("way", list(WAYS))
def test_reestimated_statistics_are_the_means_over_batches(way: str) -> None:
    reestimate, batches = WAYS[way]
    net = network()
    net[1].running_mean.fill_(7.0)
    with torch.no_grad():
        expected = by_definition(net, batches)
    before = copy.deepcopy(net.state_dict())
    assert reestimate(net) is net
    for norm, (mean, var) in zip((net[1], net[4]), expected, strict=True):
        assert torch.allclose(norm.running_mean, mean, atol=1e-6)
        assert torch.allclose(norm.running_var, var, rtol=1e-5)
    assert (net[1].momentum, net[4].momentum) == (0.1, 0.3)
    assert not any(module.training for module in net.modules())
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items() if "running" not in name
               and "tracked" not in name)  # fmt: skip


def test_both_ways_give_the_same_statistics_for_the_same_batches() -> None:
    one, other = network(), network()
    recalibrate_(one, DIGITS, 50, seed=1, batch_size=20)
    reestimate_norms_(other, torch.cat(chosen(1, 50, 20)), batch_size=20)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_dropout_is_off_whatever_mode_the_network_was_in() -> None:
    one, other = reestimate_norms_(network().train(), X), reestimate_norms_(network(), X)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    assert not any(module.training for module in one.modules())


@pytest.mark.parametrize("training", [False, True])
def test_a_forward_pass_that_raises_leaves_the_network_as_it_was(training: bool) -> None:
    net = network().train(training)
    net[4].eval()
    before, modes = copy.deepcopy(net.state_dict()), [module.training for module in net.modules()]
    with pytest.raises(RuntimeError):
        reestimate_norms_(net, torch.zeros(4, 1, 7, 7))  # one pixel too small for the linear layer
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
    assert [module.training for module in net.modules()] == modes
    assert (net[1].momentum, net[4].momentum) == (0.1, 0.3)


def test_one_image_is_refused_before_anything_changes() -> None:
    net = network()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(pdc.PDCError, match="at least 2"):
        reestimate_norms_(net, X[:1])
    few = replace(DIGITS, train=Split(DIGITS.train.images[:1], DIGITS.train.labels[:1]))
    for data, images in ((DIGITS, 1), (few, 100)):
        with pytest.raises(pdc.PDCError, match="at least 2"):
            recalibrate_(net, data, images)
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())


def test_images_of_another_precision_are_measured_in_the_networks_own() -> None:
    one, other = reestimate_norms_(network(), X.float()), reestimate_norms_(network(), X.float().double())
    assert all(torch.equal(a, b) for a, b in zip(one.buffers(), other.buffers(), strict=True))
