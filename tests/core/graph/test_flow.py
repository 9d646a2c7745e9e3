"""What feeds what: compared with a NaN that is put into a layer's output and looked for in the inputs of all others."""

from __future__ import annotations

import networkx as nx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pdc_core as pdc
from pdc_core.graph.flow import Flow, layer_flow


class Gated(nn.Module):
    """Concats, a sum, a gate, an upsampling to another activation's size and a layer called as a function."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.gate, self.c = nn.Conv2d(4, 4, 1), nn.Conv2d(8, 4, 1)
        self.weight = nn.Parameter(torch.randn(4, 12, 1, 1))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        first = self.a(x).relu()
        small = self.b(F.max_pool2d(first, 2)).relu()
        back = F.interpolate(self.c(small), size=first.shape[2:])
        gated = first * self.gate(first.mean((2, 3), keepdim=True)).sigmoid()
        both = torch.cat([gated + back, F.interpolate(small, size=first.shape[2:])], 1)
        return self.head(F.conv2d(both, self.weight).mean((2, 3)))


def _dense() -> nn.Module:
    return pdc.torchvision().models.DenseNet(
        growth_rate=4, block_config=(3, 2), num_init_features=8, bn_size=2, num_classes=3
    )


NETWORKS = {
    "resnet20": (lambda: pdc.build_model("resnet20", 3, 10), 8),
    "gated": (Gated, 8),
    "densenet": (_dense, 32),
    "mobilenet_v3_small": (lambda: pdc.build_model("mobilenet_v3_small", 3, 10), 32),
}


def _fed_in_truth(model: nn.Module, flow: Flow, x: Tensor) -> set[tuple[str, str]]:
    """Return the pairs of modules of which the first changes what the second gets."""
    modules = dict(model.named_modules())
    names = [node.name for node in flow.nodes if node.kind == "layer" and node.name in modules]
    met: list[str] = []
    hooks = [
        modules[name].register_forward_pre_hook(
            lambda _, args, name=name: met.append(name) if args[0].isnan().any() else None
        )
        for name in names
    ]
    pairs = set()
    for name in names:
        met.clear()
        poison = modules[name].register_forward_hook(lambda _, __, out: torch.full_like(out, torch.nan))
        with torch.no_grad():
            model(x)
        poison.remove()
        pairs |= {(name, other) for other in met}
    for hook in hooks:
        hook.remove()
    return pairs


@pytest.mark.parametrize("name", NETWORKS)
def test_a_layer_feeds_exactly_those_that_a_nan_in_it_reaches(name: str) -> None:
    build, side = NETWORKS[name]
    model = build().eval()
    x = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    flow = layer_flow(pdc.trace(model, x))
    dag = nx.DiGraph(flow.edges)
    names = {node.key: node.name for node in flow.nodes if node.kind == "layer"}
    found = {(names[a], names[b]) for a in names for b in nx.descendants(dag, a) if b in names}
    assert found == _fed_in_truth(model, flow, x) | {p for p in found if "weight" in p}
    order = {node.key: i for i, node in enumerate(flow.nodes)}
    assert all(order[a] < order[b] for a, b in flow.edges)


def test_joins_are_named_for_what_they_do_and_sizes_feed_nothing() -> None:
    graph = pdc.trace(Gated().eval(), torch.zeros(1, 3, 8, 8))
    flow = layer_flow(graph)
    kind = {node.key: (node.kind, node.name) for node in flow.nodes}
    named = [(kind[a][1] if kind[a][0] == "layer" else kind[a][0], *kind[b]) for a, b in flow.edges]
    assert ("weight", "layer", "head") in named  # the layer that is called as a function
    assert sorted(a for a, k, _ in named if k == "sum") == ["c", "product"]
    assert sorted(a for a, k, _ in named if k == "product") == ["a", "gate"]
    assert sorted(a for a, k, _ in named if k == "concat") == ["b", "sum"]  # not "a", of which only the size is used


def test_a_dense_block_is_a_chain_of_concatenations() -> None:
    flow = layer_flow(pdc.trace(pdc.build_model("densenet121", 3, 10).eval(), torch.zeros(1, 3, 32, 32)))
    kinds = [node.kind for node in flow.nodes]
    assert (kinds.count("layer"), kinds.count("concat")) == (121, 58)
    assert len(flow.edges) == len(flow.nodes) - 1 + kinds.count("concat")  # each has one way in, concats have two


def test_a_part_of_a_network_has_the_names_of_the_whole() -> None:
    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = pdc.build_model("resnet20", 3, 10), nn.Linear(10, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.backbone(x)
            return self.head(y) if y.sum() > 0 else self.head(-y)

    flow = layer_flow(pdc.trace(Detector().eval(), torch.zeros(1, 3, 8, 8), inside="backbone"))
    assert [node.name for node in flow.nodes if node.kind == "layer"][1] == "backbone.layer1.0.conv1"
    assert {node.path for node in flow.nodes if node.kind == "sum"} >= {"backbone.layer1.0", "backbone.layer3.2"}
