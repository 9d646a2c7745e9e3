"""Every number of every layer's cost against a count by hand, before and after folding; and what latency measures."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

import pdc_core as pdc
from pdc_core import costs


class Mixed(nn.Module):
    """Convolutions: strided with a bias, plain without, transposed; and a linear layer over the channels of a pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.strided = nn.Conv2d(2, 6, 3, stride=2, padding=1)
        self.plain = nn.Conv2d(6, 5, 1, bias=False)
        self.up = nn.ConvTranspose2d(5, 4, 2, stride=2)
        self.pixelwise = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(self.plain(self.strided(x)))  # (b, 4, 8, 8) from (b, 2, 8, 8)
        return self.pixelwise(y.permute(0, 2, 3, 1)).flatten(1)


def test_every_layer_has_its_widths_kernel_output_macs_and_parameters() -> None:
    found = {layer.name: layer for layer in pdc.cost(Mixed().eval(), torch.zeros(3, 2, 8, 8)).layers}
    assert [(c.kind, c.in_channels, c.out_channels, c.kernel, c.output, c.macs, c.params) for c in found.values()] == [
        ("conv", 2, 6, (3, 3), (6, 4, 4), 16 * 6 * 2 * 9, 6 * 2 * 9 + 6),
        ("conv", 6, 5, (1, 1), (5, 4, 4), 16 * 5 * 6, 5 * 6),
        ("conv", 5, 4, (2, 2), (4, 8, 8), 16 * 5 * 4 * 4, 5 * 4 * 4 + 4),  # each of 16 pixels meets every weight once
        ("linear", 4, 3, (1,), (8, 8, 3), 64 * 4 * 3, 4 * 3 + 3),
    ]
    assert list(found) == ["strided", "plain", "up", "pixelwise"]
    assert pdc.cost(Mixed().eval(), torch.zeros(1, 2, 8, 8)).params == 114 + 30 + 84 + 15


def test_a_plans_layers_are_those_of_the_folded_network() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2),
        nn.Flatten(), nn.Linear(8 * 9, 5), nn.Linear(5, 2),
    ).eval()  # fmt: skip
    x = torch.zeros(1, 1, 8, 8)
    graph = pdc.trace(net, x)
    plan = pdc.Plan.uniform(graph, 0.5)
    labels = pdc.assign(net, graph, plan)
    folded = pdc.cost(pdc.fold(pdc.reconstruct_(net, graph, labels), graph, labels), x)
    for by_plan, counted in zip(pdc.plan_cost(graph, plan).layers, folded.layers, strict=True):
        assert by_plan == counted
    assert pdc.plan_cost(graph, plan).params == folded.params


def test_latency_runs_whole_batches_and_two_more_of_each_than_count() -> None:
    seen: list[tuple[int, ...]] = []

    class Sees(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(tuple(x.shape))
            assert x.is_contiguous()
            return x

    assert set(pdc.latency(Sees(), torch.zeros(1, 2, 4, 4), (3,), repeats=3)) == {3}
    assert seen == [(3, 2, 4, 4)] * 5
    seen.clear()
    assert set(pdc.latency(Sees(), torch.zeros(5, 2, 4, 4), (3,), repeats=3)) == {3}, "the first image is repeated"
    assert seen == [(3, 2, 4, 4)] * 5
    seen.clear()
    assert set(pdc.latency(Sees(), torch.zeros(1, 2, 4, 4))) == {1, 64}
    assert seen == [(1, 2, 4, 4)] * 12 + [(64, 2, 4, 4)] * 12


def test_the_median_is_that_of_the_runs_that_count(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = _Waits([0.5, 0.625, 0.25, 0.0625, 0.1875, 0.125, 0.1], monkeypatch)
    assert pdc.latency(waits, torch.zeros(1, 1, 1, 1), (1,), repeats=5) == {1: 0.125}
    assert waits.lengths == []


@pytest.mark.parametrize(
    ("seconds", "made"), [(0.125, 12), (0.25, 10), (0.75, 5), (1.0, 4), (1.5, 4), (2.0, 2), (7.0, 2)]
)
def test_of_long_runs_fewer_are_timed(seconds: float, made: int, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = _Waits([seconds] * 20, monkeypatch)
    assert pdc.latency(waits, torch.zeros(1, 1, 1, 1), (1,), repeats=10) == {1: seconds}
    assert 20 - len(waits.lengths) == made == costs.latency_passes(seconds)


class _Waits(nn.Module):
    """A network whose runs take the given seconds by a clock that it moves itself."""

    def __init__(self, lengths: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.lengths, self.now = lengths, 0.0
        monkeypatch.setattr(costs.time, "perf_counter", lambda: self.now)

    def forward(self, x: Tensor) -> Tensor:
        self.now += self.lengths.pop(0)
        return x


def test_products_outside_of_layers_have_an_entry_of_their_own_with_their_shape() -> None:
    class Products(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(2) @ x.flatten(2).mT  # (1, 3, 20) by (1, 20, 3)

    (only,) = pdc.cost(Products(), torch.zeros(1, 3, 4, 5)).layers
    assert (only.kind, only.kernel, only.in_channels, only.out_channels) == ("fixed", (1,), 3, 3)
    assert (only.output, only.macs, only.params) == ((3, 3), 3 * 3 * 20, 0)


@pytest.mark.parametrize("real", [False, True])
def test_attention_is_counted_as_its_two_products_also_where_the_network_runs_for_real(real: bool) -> None:
    class Attends(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if real and float(x.sum()) > 1:
                return x
            return nn.functional.scaled_dot_product_attention(x, x, x)

    assert pdc.cost(Attends(), torch.zeros(3, 2, 7, 16)).macs == 2 * (2 * 7 * 7 * 16)  # 2 heads of 7 places


def test_of_an_operation_with_several_results_the_first_is_the_output() -> None:
    class Attends(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ops.aten._scaled_dot_product_flash_attention(x, x, x)[0]

    (only,) = pdc.cost(Attends(), torch.zeros(1, 2, 7, 16)).layers
    assert (only.output, only.macs) == ((2, 7, 16), 2 * (2 * 7 * 7 * 16))


def test_weights_of_a_called_function_are_its_first() -> None:
    class Called(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Parameter(torch.ones(7, 5)), nn.Parameter(torch.ones(5, 6))

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.linear(x, self.one)[:, :6] + (self.one @ self.two)[:1]

    found = {layer.name: layer for layer in pdc.cost(Called(), torch.zeros(1, 5)).layers}
    assert {name: each.macs for name, each in found.items()} == {"one": 7 * 5 + 7 * 5 * 6}
    assert (found["one"].kind, found["one"].in_channels, found["one"].out_channels) == ("linear", 5, 7)

    class Product(Called):
        def forward(self, x: Tensor) -> Tensor:
            return (self.one @ self.two)[:1] * x.mean()

    (only,) = pdc.cost(Product(), torch.zeros(1, 5)).layers
    assert (only.name, only.in_channels, only.out_channels) == ("one", 5, 7)


def test_a_layer_called_as_a_function_is_named_after_the_module_of_its_weight_and_else_after_the_tensor() -> None:
    class Called(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.layer = nn.Parameter(torch.ones(4, 5)), nn.Linear(4, 3)
            self.part = nn.ParameterDict({"mix": torch.ones(2, 3)})

        def forward(self, x: Tensor) -> Tensor:
            linear = nn.functional.linear
            return linear(linear(linear(x, self.weight), self.layer.weight), self.part["mix"])

    found = pdc.cost(Called(), torch.zeros(1, 5)).layers
    assert [(layer.name, layer.macs) for layer in found] == [("weight", 20), ("layer", 12), ("part.mix", 6)]


def test_nothing_is_computed_for_a_count_and_buffers_are_not_read_either() -> None:
    class Called(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 7)
            self.register_buffer("shift", torch.ones(5))
            self.register_buffer("picked", torch.tensor([0, 2]))

        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.device.type)
            return self.layer(x + self.shift)[:, self.picked]

    seen: list[str] = []
    assert pdc.cost(Called(), torch.zeros(1, 5)).macs == 35
    assert seen == ["meta"]


def test_channels_of_a_grouped_convolution_are_those_of_all_groups() -> None:
    for conv in (nn.Conv2d(6, 8, 3, groups=2), nn.ConvTranspose2d(6, 8, 3, groups=2)):
        (layer,) = pdc.cost(nn.Sequential(conv).eval(), torch.zeros(1, 6, 5, 5)).layers
        assert (layer.in_channels, layer.out_channels) == (6, 8)


def test_a_gpu_is_waited_for_before_and_after_every_timed_run_and_a_cpu_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    pdc.latency(nn.Conv2d(1, 1, 1).eval(), torch.zeros(1, 1, 4, 4), (1,), repeats=1)
    assert not waited
    costs._wait(SimpleNamespace(device=torch.device("cuda")))  # type: ignore[arg-type]
    assert waited == [torch.device("cuda")]


def test_a_network_whose_way_depends_on_values_is_run_once() -> None:
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) if float(x.detach().sum()) > 0 else x

    assert pdc.cost(Looks(), torch.ones(1, 4)).macs == 8
    assert pdc.cost(Looks(), -torch.ones(1, 4)).macs == 0
