"""MACs and parameters: the literature's numbers, torch's own counter, and predictions that need no network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import pdc_core as pdc
from tests.networks import counted_macs, parameters

LITERATURE = {"resnet20": 40_551_040, "resnet56": 125_485_696, "resnet110": 252_887_680}


@pytest.mark.parametrize("name", LITERATURE)
def test_macs_are_those_of_the_literature(name: str) -> None:
    model, x = pdc.load_model(name, data="cifar10", weights=False), torch.zeros(1, 3, 32, 32)
    graph = pdc.trace(model, x)
    assert pdc.cost(model, x).macs == pdc.plan_cost(graph, {}).macs == LITERATURE[name]


@pytest.mark.parametrize("name", ["resnet20", "resnet32_b"])
@pytest.mark.parametrize("keep", [0.1, 0.5, 1.0])
def test_a_plan_is_priced_exactly_without_building_it(name: str, keep: float) -> None:
    model, x = pdc.load_model(name, weights=False), torch.zeros(1, 1, 8, 8)
    graph = pdc.trace(model, x)
    plan = pdc.Plan.uniform(graph, keep)
    labels = pdc.assign(model, graph, plan)
    small = pdc.fold(pdc.reconstruct_(model, graph, labels), graph, labels)
    priced = pdc.plan_cost(graph, plan)
    assert priced.macs == counted_macs(small, x)
    assert priced.params == parameters(small)
    assert [layer.macs for layer in priced.layers] == [layer.macs for layer in pdc.cost(small, x).layers]


def test_layers_called_twice_count_twice_and_their_weights_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(torch.relu(self.conv(x)))

    net, x = Twice().eval(), torch.zeros(1, 2, 5, 5)
    assert pdc.cost(net, x).macs == counted_macs(net, x) == 2 * 25 * 2 * 2 * 9
    assert pdc.cost(net, x).params == pdc.plan_cost(pdc.trace(net, x), {}).params == 38


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, stride=2, dilation=2, groups=2),
        nn.ConvTranspose2d(4, 6, 3, stride=2),
        nn.Sequential(nn.Flatten(), nn.Linear(4 * 81, 5)),
    ],
)
def test_every_kind_of_layer_agrees_with_torchs_counter(layer: nn.Module) -> None:
    x = torch.zeros(3, 4, 9, 9)
    net = nn.Sequential(layer).eval()
    assert pdc.cost(net, x).macs == pdc.plan_cost(pdc.trace(net, x[:1]), {}).macs == counted_macs(net, x)


def test_a_plan_for_another_network_has_no_price() -> None:
    graph = pdc.trace(pdc.load_model("resnet20", weights=False), torch.zeros(1, 1, 8, 8))
    with pytest.raises(pdc.PDCError, match="does not fit"):
        pdc.plan_cost(graph, pdc.Plan(counts={"elsewhere": 2}))


def test_counting_leaves_the_network_as_it_was() -> None:
    model = pdc.load_model("resnet20", weights=False).train()
    pdc.cost(model, torch.zeros(1, 1, 8, 8))
    assert model.training
    assert next(model.parameters()).device.type == "cpu"
    assert not any(m._forward_hooks for m in model.modules())


def test_latency_gives_seconds_for_every_batch_size() -> None:
    seconds = pdc.latency(nn.Conv2d(1, 1, 1).eval(), torch.zeros(1, 1, 4, 4), (1, 3), repeats=3)
    assert set(seconds) == {1, 3}
    assert all(s > 0 for s in seconds.values())


def test_a_network_whose_path_depends_on_values_is_counted_in_eval_mode() -> None:
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(1, 4, 3, stride=4), nn.BatchNorm1d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x).flatten(1)[:, :4]
            return self.bn(y) if y.sum() > -1e9 else y

    model = Looks().train()
    assert pdc.cost(model, torch.zeros(1, 1, 3, 3)).macs == 36
    assert model.training
