"""What is in front of a change is computed once; what comes out is what the whole network gives."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import pdc_core as pdc
from pdc_core.estimates.tail import Tail
from pdc_core.graph.tensors import tensor_at
from tests.networks import chain, lively_


class Scaled(nn.Module):
    """A network that multiplies by a parameter outside of torch's layers: its program is not run by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.scale = chain(), nn.Parameter(torch.full((3,), 2.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * self.scale


NETWORKS = {
    "chain": (chain, (2, 6, 6)),
    "resnet20": (lambda: pdc.build_model("resnet20", 2, 3, size=8), (2, 8, 8)),
    "mobilenet_v2": (lambda: pdc.torchvision().models.mobilenet_v2(num_classes=3, width_mult=0.25), (3, 32, 32)),
    "densenet": (lambda: pdc.torchvision().models.DenseNet(8, (2, 2), 16, num_classes=3), (3, 32, 32)),
    "scaled": (Scaled, (2, 6, 6)),
}


@pytest.mark.parametrize("kept_bytes", [2**28, 20_000, 0])
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_those_of_the_whole_network_whichever_tensors_are_replaced(
    name: str, kept_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pdc_core.estimates.tail._BATCH", 2)
    build, shape = NETWORKS[name]
    model = lively_(build().eval())
    x = torch.randn(5, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tail = Tail(model, pdc.trace(model, torch.zeros(1, *shape)), x, kept_bytes)
    names = [name for name, p in model.named_parameters() if p.dim() > 1]
    for each in (*names[:: max(1, len(names) // 6)], names[0]):  # forwards, and once back
        for factor in (0.5, 3.0):
            changed = copy.deepcopy(model)
            tensor_at(changed, each).data.mul_(factor)
            with torch.no_grad():
                whole = changed(x)
            found = torch.cat(list(tail.outputs({each: tensor_at(changed, each).detach()})))
            torch.testing.assert_close(found, whole, rtol=1e-10, atol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(list(tail.outputs())), model(x), rtol=1e-10, atol=1e-10)


def test_nothing_in_front_of_the_change_runs_again() -> None:
    model = chain().eval()
    graph = pdc.trace(model, torch.zeros(1, 2, 6, 6))
    calls = []
    tail = Tail(model, graph, torch.randn(4, 2, 6, 6))
    tail._model[0].register_forward_hook(lambda *_: calls.append("first"))
    tail._model[3].register_forward_hook(lambda *_: calls.append("second"))
    for _ in range(3):
        list(tail.outputs({"3.weight": model[3].weight.detach()}))
    assert calls == ["first", *["second"] * 3]


def test_no_more_is_kept_than_allowed_also_where_the_network_is_entered_again_and_again() -> None:
    model = chain().eval()
    graph, x = pdc.trace(model, torch.zeros(1, 2, 6, 6)), torch.randn(400, 2, 6, 6)
    each = 100 * 6 * 36 * 4  # bytes of a batch in front of layer 3
    tail = Tail(model, graph, x, kept_bytes=2 * each + 1)
    for name in ("3.weight", "3.weight", "8.weight", "3.weight"):
        list(tail.outputs({name: tensor_at(model, name).detach()}))
        kept = [sum(t.nbytes for t in env.values()) for env in tail._kept if env is not None]
        assert 0 < sum(kept) <= 2 * each + 1
    assert kept == [each, each]


def test_the_tensors_of_the_network_are_its_own_again_also_where_nobody_reads_to_the_end() -> None:
    model = chain().eval()
    tail = Tail(model, pdc.trace(model, torch.zeros(1, 2, 6, 6)), torch.randn(300, 2, 6, 6))
    outputs = tail.outputs({"3.weight": torch.zeros_like(model[3].weight)})
    next(outputs)
    outputs.close()
    assert torch.equal(tail._model[3].weight, model[3].weight)
