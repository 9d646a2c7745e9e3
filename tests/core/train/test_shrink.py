"""Folding in the middle of a run: the same training, whatever the treatment of sums, and back to full width."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import pdc_core as pdc
from pdc_core.reconstruct import optimizer_slots
from pdc_core.train import Training
from pdc_core.train.shrink import folded_momentum, gradient_scales, unfold
from tests.core.graph.test_random_networks import RandomNetwork, Step
from tests.core.graph.test_random_networks import steps as programs
from tests.networks import lively_, random_labels
from tests.training import FEW, MODEL, Interrupted, same_networks

X = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.arange(16) % 10
RATE = {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}


def network(name: str) -> nn.Module:
    return pdc.load_model(name, weights=False).double() if name != "grouped" else grouped().double()


def grouped() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, groups=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=2),
        nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10),
    ).eval()  # fmt: skip


def step(
    model: nn.Module, optimizer: torch.optim.Optimizer, scales: dict[nn.Parameter, torch.Tensor], x: torch.Tensor
) -> float:
    optimizer.zero_grad()
    loss = F.cross_entropy(model.train()(x), Y % 3)
    loss.backward()
    for p, scale in scales.items():
        p.grad.mul_(scale)
    optimizer.step()
    return float(loss.detach())


TREATMENTS = ("internal", "shared", "gather")


def assert_same_steps(full: nn.Module, graph: pdc.ChannelGraph, labels: dict[str, np.ndarray], x: torch.Tensor) -> None:
    """Train a network with tied filters, and one that is folded, side by side."""
    ties = pdc.reconstruct.tie(full, graph, labels, "uniform")
    optimizer = torch.optim.SGD(full.parameters(), **RATE)
    step(full, optimizer, {}, x)  # so that there is a momentum to take over
    for each in ties:
        each.extend(optimizer_slots(full, each.group, [optimizer]))
        each.apply_(1.0)
    small = pdc.fold(full, graph, labels)
    momentum = folded_momentum(full, graph, labels, optimizer, small)
    other = torch.optim.SGD(small.parameters(), **RATE)
    for p, buffer in momentum.items():
        other.state[p]["momentum_buffer"] = buffer
    scales = gradient_scales(full, graph, labels)
    by_parameter = {p: scales[key] for key, p in small.named_parameters()}
    for _ in range(3):
        losses = step(full, optimizer, {}, x), step(small, other, by_parameter, x)
        for each in ties:
            each.apply_(1.0)
        assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    again = pdc.fold(full, graph, labels)
    for a, b in zip(again.state_dict().values(), small.state_dict().values(), strict=True):
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-8)
    wide = unfold(small, full, graph, labels).eval()
    assert pdc.check_equal(wide, small.eval(), x).equal
    assert pdc.deviation(wide, graph, labels) < 1e-9


@pytest.mark.parametrize(
    ("name", "residual"),
    [*((name, each) for name in ("resnet20", "grouped") for each in TREATMENTS), ("mobilenet_v2_small", "internal")],
)
def test_the_small_network_makes_the_steps_of_the_full_one(name: str, residual: str) -> None:
    full = network(name)
    graph = pdc.trace(full, X[:1], residual=residual)
    assert_same_steps(full, graph, pdc.assign(full, graph, pdc.Plan.uniform(graph, 0.5)), X)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(program=programs, residual=st.sampled_from(TREATMENTS), seed=st.integers(0, 99))
def test_any_folded_network_makes_the_steps_of_the_full_one(program: list[Step], residual: str, seed: int) -> None:
    torch.manual_seed(seed)
    full = lively_(RandomNetwork(program).eval(), seed).double()
    x = torch.randn(16, 3, 4, 4, dtype=torch.float64)
    graph = pdc.trace(full, x[:1], residual=residual)
    assert_same_steps(full, graph, random_labels(graph, 0.5, seed), x)


def test_a_scale_is_one_over_the_cluster_for_rows_and_the_cluster_for_columns() -> None:
    chain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)).eval()
    graph = pdc.trace(chain, torch.zeros(1, 1, 8, 8))
    scales = gradient_scales(chain, graph, {"0": np.array([0, 0, 0, 1])})
    assert scales["0.weight"][:, 0, 0, 0].tolist() == pytest.approx([1 / 3, 1.0])
    assert scales["0.bias"].tolist() == pytest.approx([1 / 3, 1.0])
    assert scales["2.weight"][0, :, 0, 0].tolist() == [3.0, 1.0]
    assert scales["2.bias"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("schedule", ["progressive", "merge"])
@pytest.mark.parametrize("gradients", ["averaged", "summed"])
def test_a_run_that_folds_early_ends_like_one_that_does_not_and_resumes_exactly(
    schedule: str, gradients: str, tmp_path: Path
) -> None:
    base = Training(
        epochs=2, lr=0.02, centroid="uniform", schedule=schedule, tied_gradients=gradients, tied_after=0.5, merges=3
    )
    plan = pdc.Plan.uniform(pdc.trace(MODEL, torch.zeros(1, 1, 8, 8)), 0.25)
    early, late = (
        pdc.distil(MODEL, plan, FEW, settings=base.model_copy(update={"fold_when_tied": fold}))
        for fold in (True, False)
    )
    losses = [[row["loss"] for row in result.history if row["kind"] == "train"] for result in (early, late)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert early.report["reconstructed"]["test_accuracy"] == early.report["folded"]["test_accuracy"]
    assert early.report["folded"]["macs"] == late.report["folded"]["macs"]
    assert early.report["same_predictions"]
    folding = base.model_copy(update={"fold_when_tied": True})
    for after in (4, 6) if gradients == "averaged" else ():  # before and after it was folded
        recorder = Interrupted(after)
        with pytest.raises(pdc.train.Stopped):
            pdc.distil(MODEL, plan, FEW, settings=folding, recorder=recorder)
        again = pdc.distil(MODEL, plan, FEW, settings=folding, recorder=recorder)
        assert same_networks(again.folded, early.folded)
        pdc.save(again.folded, tmp_path / "again.safetensors")
        assert same_networks(pdc.load(tmp_path / "again.safetensors"), early.folded)


def test_the_momentum_of_tied_filters_is_tied() -> None:
    plan = pdc.Plan.uniform(pdc.trace(MODEL, torch.zeros(1, 1, 8, 8)), 0.25)
    recorder = Interrupted(3)
    with pytest.raises(pdc.train.Stopped):
        pdc.distil(MODEL, plan, FEW, settings=Training(epochs=1, schedule="tied"), recorder=recorder)
    state = recorder.state
    assert state is not None
    names = [name for name, _ in copy.deepcopy(MODEL).named_parameters()]
    kept = state["optimizer"]["state"][names.index("layer1.0.conv1.weight")]["momentum_buffer"]
    a = state["stage"]["labels"]["layer1.0.conv1"]
    for cluster in a.unique():
        rows = kept[a == cluster]
        assert torch.equal(rows, rows[:1].expand_as(rows))
        assert rows.abs().max() > 0
