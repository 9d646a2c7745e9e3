"""torchvision's own networks, six of different kinds: every treatment folds exactly and costs what was predicted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import pdc_core as pdc
from tests.networks import counted_macs, lively_, parameters, random_labels, reconstructed_and_folded

# name -> share of hidden channels that can be clustered under `shared`, where that is a promise
NETWORKS = {
    "resnet18": 1.0,  # sums with projections
    "densenet121": 1.0,  # concatenations, norms across groups
    "mobilenet_v3_small": 1.0,  # depthwise, squeeze and excite
    "squeezenet1_1": 1.0,  # chains and concatenations without norms
    "regnet_x_400mf": None,  # grouped convolutions
    "shufflenet_v2_x0_5": None,  # splits and channel shuffles
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest) -> tuple[str, nn.Module]:
    return request.param, lively_(pdc.build_model(request.param, 3, 10))


@pytest.mark.parametrize("residual", ["internal", "shared", "gather"])
def test_torchvisions_networks_fold_exactly(network: tuple[str, nn.Module], residual: str) -> None:
    name, model = network
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    graph = pdc.trace(model, x[:1], residual)
    labels = random_labels(graph, 0.5)
    tied, small = reconstructed_and_folded(model, graph, labels)
    assert pdc.check_equal(tied, small, x).equal
    priced = pdc.plan_cost(graph, pdc.Plan.uniform(graph, 0.5))
    assert (priced.macs, priced.params) == (counted_macs(small, x), parameters(small))
    if residual == "shared" and NETWORKS[name] is not None:
        hidden = [g for g in graph.groups if g.frozen != "is the network's output"]
        assert sum(g.size for g in hidden if g.frozen is None) / sum(g.size for g in hidden) == NETWORKS[name]


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "mnasnet0_5"])  # a rewritten forward pass; a versioned state
def test_torchvisions_networks_come_back_from_disk(name: str, tmp_path: Path) -> None:
    model = lively_(pdc.build_model(name, 3, 10))
    model.card = pdc.ModelInfo(name, "images", (3, 64, 64), tuple("0123456789"), (0.0,) * 3, (1.0,) * 3)  # type: ignore[assignment]
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    graph = pdc.trace(model, x[:1], "gather")
    _, small = reconstructed_and_folded(model, graph, random_labels(graph, 0.5))
    pdc.save(small, tmp_path / "small.safetensors")
    with torch.no_grad():
        assert torch.equal(pdc.load(tmp_path / "small.safetensors")(x), small(x))
