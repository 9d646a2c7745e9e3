"""What is in front of a change is computed once; what comes out is what the whole network gives."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import pdc_core as pdc
from pdc_core.estimates.tail import Tail
from pdc_core.graph.tensors import channel_tensors
from tests.networks import chain, lively_


class Scaled(nn.Module):
    """A network that multiplies by a parameter outside of torch's layers: its program is not run by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.scale = chain(), nn.Parameter(torch.full((3,), 2.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) * self.scale


NETWORKS = {
    "chain": (chain, (2, 6, 6)),
    "resnet20": (lambda: pdc.build_model("resnet20", 2, 3, size=8), (2, 8, 8)),
    "mobilenet_v2": (lambda: pdc.torchvision().models.mobilenet_v2(num_classes=3, width_mult=0.25), (3, 32, 32)),
    "densenet": (lambda: pdc.torchvision().models.DenseNet(8, (2, 2), 16, num_classes=3), (3, 32, 32)),
    "scaled": (Scaled, (2, 6, 6)),
}


@pytest.mark.parametrize("kept_bytes", [2**30, 20_000, 0])
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_those_of_the_whole_network_whichever_group_changes(name: str, kept_bytes: int) -> None:
    build, shape = NETWORKS[name]
    torch.manual_seed(0)
    model = lively_(build().eval()).float()
    graph = pdc.trace(model, torch.zeros(1, *shape))
    x = torch.randn(5, *shape)
    tail, original = Tail(model, graph, x, kept_bytes), copy.deepcopy(model.state_dict())
    groups = graph.clusterable
    for group in (*groups[:: max(1, len(groups) // 6)], groups[0]):  # forwards, and once back
        tail.start_at(group)
        for change in (0.5, 3.0):
            for t in channel_tensors(model, group):
                if t.tensor.dtype.is_floating_point:
                    t.tensor.data.mul_(change)
            with torch.no_grad():
                assert torch.equal(torch.cat(list(tail.outputs())), model(x))
        model.load_state_dict(original)


def test_nothing_in_front_of_the_group_runs_again() -> None:
    model = chain().eval()
    graph = pdc.trace(model, torch.zeros(1, 2, 6, 6))
    tail, calls = Tail(model, graph, torch.randn(4, 2, 6, 6)), []
    model[0].register_forward_hook(lambda *_: calls.append("first"))
    model[3].register_forward_hook(lambda *_: calls.append("second"))
    tail.start_at(graph.group("3"))
    assert calls == ["first"]
    for _ in range(3):
        list(tail.outputs())
    assert calls == ["first", *["second"] * 3]


def test_only_norms_behind_the_change_are_named() -> None:
    model = chain().eval()
    graph = pdc.trace(model, torch.zeros(1, 2, 6, 6))
    tail = Tail(model, graph, torch.randn(4, 2, 6, 6))
    assert tail.norms() == [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    tail.start_at(graph.group("3"))
    assert tail.norms() == [m for m in model[3:].modules() if isinstance(m, nn.BatchNorm2d)]
