"""Writing in place, tensors that several layers hold, tensors made from open sizes: all fold exactly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pdc_core as pdc
from tests.networks import assert_sound, lively_, random_labels, reconstructed_and_folded

X = torch.randn(3, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
Two = Callable[[Tensor, Tensor], Tensor]  # (what one convolution gives, what a second gives of it) -> what is read


class Residual(nn.Module):
    """Two convolutions of equal width, `between` of their outputs, and a third that reads it."""

    def __init__(self, between: Two, wide: int = 8) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.read, self.between = nn.Conv2d(wide, 3, 1), between

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        return self.read(F.relu(self.between(x, self.second(x)))).mean((2, 3))


def added_by_another_name(x: Tensor, y: Tensor) -> Tensor:
    z = y
    z += x
    return y


def added_and_lost(x: Tensor, y: Tensor) -> Tensor:
    y.add_(x)
    return y


def added_to_a_copy(x: Tensor, y: Tensor) -> Tensor:
    x = x.clone()
    x.sub_(y)
    return x


def added_to_a_view(x: Tensor, y: Tensor) -> Tensor:
    y.flatten(1).add_(x.flatten(1))
    return y


def added_to_a_turned_view(x: Tensor, y: Tensor) -> Tensor:
    z = y.permute(0, 2, 3, 1)
    z -= x.permute(0, 2, 3, 1)
    return y


def view_read_after_its_whole(x: Tensor, y: Tensor) -> Tensor:
    z = y.view(y.shape[0], y.shape[1], -1)
    y += x
    return z.unflatten(2, (8, 8))


def half_shifted(x: Tensor, y: Tensor) -> Tensor:
    z = y[:, :4]
    z += 1
    return y


def half_scaled(x: Tensor, y: Tensor) -> Tensor:
    y[:, 4:].mul_(3)
    return y


def half_by_the_other(x: Tensor, y: Tensor) -> Tensor:
    y[:, :4] += y[:, 4:]
    return y


def a_row_assigned(x: Tensor, y: Tensor) -> Tensor:
    y[:, :, 0] = 1
    y[..., -1] = 0.5
    return y


def a_mask_assigned(x: Tensor, y: Tensor) -> Tensor:
    y[y < 0] = 0.25
    return y


def a_mask_of_another(x: Tensor, y: Tensor) -> Tensor:
    y[x > 0.5] = 0.25
    return y


def a_channel_assigned(x: Tensor, y: Tensor) -> Tensor:
    y[:, 2] = 0
    y[0, 1] = 4
    return y


def shifted_in_space(x: Tensor, y: Tensor) -> Tensor:
    out = torch.zeros_like(y)
    fold = y.shape[1] // 4
    out[:, :fold, :-1] = y[:, :fold, 1:]
    out[:, fold : 2 * fold, 1:] = y[:, fold : 2 * fold, :-1]
    out[:, 2 * fold :] = y[:, 2 * fold :]
    return out


def scaled_in_place(x: Tensor, y: Tensor) -> Tensor:
    y *= x
    y /= 2
    return y


def a_number_counted(x: Tensor, y: Tensor) -> Tensor:
    wide = before = y.shape[1]
    wide *= 2
    return torch.cat([x, y], 1).view(-1, wide // before, before, 8, 8).sum(1)


def zeros_of_the_batch(x: Tensor, y: Tensor) -> Tensor:
    filled = torch.zeros(y.shape[0], 2, y.shape[2], y.shape[3], dtype=y.dtype, device=y.device)
    return torch.cat([y, filled, torch.ones(y.size(0), 1, 8, 8)], 1)


def zeros_as_wide_as_it(x: Tensor, y: Tensor) -> Tensor:
    return torch.cat([y, torch.zeros(y.size(0), y.size(1), y.size(2), y.size(3), dtype=y.dtype)], 1)


BETWEEN: dict[str, tuple[Two, int]] = {
    f.__name__: (f, 8)
    for f in (
        added_by_another_name, added_and_lost, added_to_a_copy, added_to_a_view, added_to_a_turned_view,
        view_read_after_its_whole, half_shifted, half_scaled, half_by_the_other, a_row_assigned, a_mask_assigned,
        a_mask_of_another, a_channel_assigned, shifted_in_space, scaled_in_place, a_number_counted,
    )
} | {"zeros_of_the_batch": (zeros_of_the_batch, 11), "zeros_as_wide_as_it": (zeros_as_wide_as_it, 16)}  # fmt: skip


@pytest.mark.parametrize("residual", ["internal", "shared", "gather"])
@pytest.mark.parametrize("name", BETWEEN)
def test_what_is_written_in_place_folds_exactly(name: str, residual: str) -> None:
    assert_sound(lively_(Residual(*BETWEEN[name])), X, residual)


def test_what_is_written_in_place_is_pruned_as_what_is_not() -> None:
    def plan(between: Two, residual: str) -> dict[str, int]:
        return pdc.Plan.uniform(pdc.trace(lively_(Residual(between)), X[:1], residual), 0.5).counts

    for residual in ("internal", "shared", "gather"):
        for same in (added_by_another_name, added_and_lost):
            assert plan(same, residual) == plan(lambda x, y: y + x, residual)
    for free in (a_row_assigned, a_mask_assigned):
        assert plan(free, "internal") == {"first": 4, "second": 4}
    assert plan(a_channel_assigned, "internal") == {"first": 4}


class Held(nn.Module):
    """Three convolutions in a row, whose tensors `hold` makes one."""

    def __init__(self, hold: Callable[[Held], None]) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(2, 6, 3), nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1)
        self.norm, self.other, self.read = nn.BatchNorm2d(6), nn.BatchNorm2d(6), nn.Conv2d(6, 3, 1)
        hold(self)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.second(F.relu(self.first(x)))))
        return self.read(F.relu(self.other(self.third(x)))).mean((2, 3))


def one_weight(net: Held) -> None:
    net.third.weight = net.second.weight


def one_bias(net: Held) -> None:
    net.third.bias = net.second.bias


def one_norm_weight(net: Held) -> None:
    net.other.weight, net.other.bias = net.norm.weight, net.norm.bias


def one_statistic(net: Held) -> None:
    net.double()
    net.other.running_mean = net.norm.running_mean


def one_layer(net: Held) -> None:
    net.third = net.second


@pytest.mark.parametrize("hold", [one_weight, one_bias, one_norm_weight, one_statistic, one_layer])
def test_tensors_that_several_layers_hold_fold_exactly(hold: Callable[[Held], None]) -> None:
    net = lively_(Held(hold))
    graph = pdc.trace(net, X[:1])
    tied, small = reconstructed_and_folded(net, graph, random_labels(graph, 0.5))
    assert pdc.check_equal(tied, small, X).relative <= 1e-9
    frozen = {g.name for g in graph.groups if g.frozen and "another way" in g.frozen}
    assert ("third" in frozen) == (hold is not one_layer)
    assert len(graph.clusterable) == {one_layer: 1, one_norm_weight: 1, one_statistic: 1}.get(hold, 0)
