"""A pruner in a loop of one's own: what it does to every step, against naive loops and against `distil` itself."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import pdc_core as pdc
from pdc_core.seeds import seed_of
from pdc_core.train import Training
from pdc_core.train.batches import Batches
from pdc_core.train.fabric import make_optimizer
from pdc_core.train.rates import rate
from tests.pruning import X, Y, network, plan_of, pruner_of, train
from tests.training import FEW, MODEL, PLAN, same_networks

CHAIN = {"0": ("0", "1", "3"), "3": ("3", "4", "8"), "8": ("8", None, "10")}  # group: layer, norm, reader


def projector(w: Tensor, a: np.ndarray) -> Tensor:
    """P = M (M^T D M)^-1 M^T D as a matrix, D the squared norms of the filters w (n, m)."""
    m, d = torch.eye(int(a.max()) + 1, dtype=w.dtype)[torch.from_numpy(a)], torch.diag(w.square().sum(dim=1))
    return m @ torch.linalg.inv(m.T @ d @ m) @ m.T @ d


def test_ten_steps_equal_a_loop_that_writes_the_projection_as_a_matrix() -> None:
    ours, naive = network(), network()
    rate = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}
    pruner = pruner_of(ours, schedule="progressive", teacher=False)
    optimizer, other = torch.optim.SGD(ours.parameters(), **rate), torch.optim.SGD(naive.parameters(), **rate)
    pruner.attach(optimizer)
    labels, strength = pruner.tying.labels, 0.0
    for step in range(10):
        train(ours, optimizer, 1, step)
        chosen = torch.arange(step, step + 12) % 24
        F.cross_entropy(naive(X[chosen]), Y[chosen]).backward()
        for name, (layer, norm, reader) in CHAIN.items():  # gradients: (1-s) g + s M M^T g, columns g ((1-s) + s/m)
            a = labels[name]
            same = torch.from_numpy((a[:, None] == a[None]).astype(float))
            for module in filter(None, (layer, norm)):
                for p in naive.get_submodule(module).parameters():
                    p.grad = (1 - strength) * p.grad + strength * torch.einsum("ij,j...->i...", same, p.grad)
            p = naive.get_submodule(reader).weight
            columns = (1 - strength) + strength / same.sum(dim=1)
            per = p.shape[1] // len(columns)  # pixels of a channel behind the flatten
            p.grad = p.grad * columns.repeat_interleave(per).view(1, -1, *[1] * (p.dim() - 2))
        other.step()
        other.zero_grad()
        strength = min(1.0, ((step + 1) / 10 / 0.5) ** 3)
        for name, (layer, norm, _) in CHAIN.items():
            p = projector(naive.get_submodule(layer).weight.detach().flatten(1), labels[name])
            pull = (1 - strength) * torch.eye(len(p), dtype=p.dtype) + strength * p
            for module in filter(None, (layer, norm)):
                own = naive.get_submodule(module)
                tensors = [t for t in own.state_dict().values() if t.is_floating_point()]
                tensors += [other.state[each]["momentum_buffer"] for each in own.parameters()]
                for t in tensors:
                    t.copy_(torch.einsum("ij,j...->i...", pull, t))
        for (key, one), two in zip(ours.state_dict().items(), naive.state_dict().values(), strict=True):
            assert torch.allclose(one.double(), two.double(), rtol=1e-9, atol=1e-12), (step, key)
        for one, two in zip(ours.parameters(), naive.parameters(), strict=True):
            buffers = optimizer.state[one]["momentum_buffer"], other.state[two]["momentum_buffer"]
            assert torch.allclose(*buffers, rtol=1e-9, atol=1e-12)
    assert pruner.summary().tied


SCHEDULED = [
    {"schedule": "merge", "merges": 3, "tied_after": 0.6},
    {"schedule": "progressive"},
    {"schedule": "progressive", "tied_gradients": "averaged", "attention": 5.0, "feature_decay": 1.0},
    {"schedule": "recluster", "recluster_until": 0.9},
    {"schedule": "tied", "centroid": "uniform"},
]


@pytest.mark.parametrize("changes", SCHEDULED, ids=lambda changes: "-".join(map(str, changes.values())))
def test_a_loop_of_ones_own_ends_with_the_very_weights_of_distil(changes: dict[str, Any]) -> None:
    settings = Training(epochs=2, n_images=64, **changes)
    theirs = pdc.distil(MODEL, PLAN, FEW, settings=settings, seed=3)
    model, batches = copy.deepcopy(MODEL).requires_grad_(True), Batches(FEW, settings, 3, torch.device("cpu"))
    steps, done = settings.epochs * batches.per_epoch, 0
    images = FEW.prepare(FEW.train.images[:64])
    example = torch.zeros(1, 1, 8, 8)
    pruner = pdc.Pruner(model, PLAN, example, steps=steps, images=images, seed=3, recluster_every=0.5, **changes)
    optimizer = make_optimizer(model, settings)
    pruner.attach(optimizer)
    for epoch in range(settings.epochs):
        model.train()
        for x, y in batches.epoch(epoch):
            torch.manual_seed(seed_of(3, done, 2, 0))
            optimizer.param_groups[0]["lr"] = rate(settings, done, steps)
            optimizer.zero_grad()
            out = model(x)
            loss = (1 - settings.alpha) * F.cross_entropy(out, y) + pruner.guidance(x, out)
            loss.backward()
            optimizer.step()
            done += 1
    folded = pruner.fold().eval()
    assert same_networks(folded, theirs.folded)
    assert {name: a.tolist() for name, a in pruner.tying.labels.items()} == {
        name: a.tolist() for name, a in theirs.labels.items()
    }


@pytest.mark.parametrize("residual", ["internal", "shared", "gather"])
def test_a_fold_is_exact_and_has_the_plans_widths(residual: str) -> None:
    model = pdc.load_model("resnet20", weights=False).double()
    x, y = torch.randn(16, 1, 8, 8, dtype=torch.float64), torch.arange(16) % 10
    graph = pdc.trace(model, x[:1], residual=residual)
    plan = pdc.Plan.uniform(graph, 0.5)
    pruner = pdc.Pruner(model.train(), plan, x[:1], steps=3, images=x, merges=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    pruner.attach(optimizer)
    for _ in range(3):
        out = model(x)
        (F.cross_entropy(out, y) + pruner.guidance(x, out)).backward()
        optimizer.step()
        optimizer.zero_grad()
    small = pruner.fold()
    assert small.training
    assert not any(m._forward_hooks for m in small.modules())
    assert pdc.check_equal(model.eval(), small.eval(), x).relative < 1e-9
    assert pdc.cost(small, x[:1]).macs == pdc.plan_cost(graph, plan).macs == pruner.summary().macs_end


def test_fold_refuses_untied_filters_and_says_what_to_do() -> None:
    model = network()
    pruner = pruner_of(model, schedule="progressive")
    with pytest.raises(pdc.PDCError, match="never attached: call attach"):
        pruner.fold()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    pruner.attach(optimizer)
    train(model, optimizer, 2)
    with pytest.raises(pdc.PDCError, match=r"not tied yet: 20% of the run.*after 50% of the run.*finish\(\)"):
        pruner.fold()
    train(model, optimizer, 8)
    pruner.fold()
    model.load_state_dict(network(1).state_dict())
    with pytest.raises(pdc.PDCError, match="come apart"):
        pruner.fold()


@pytest.mark.parametrize("schedule", ["merge", "progressive", "recluster", "tied"])
@pytest.mark.parametrize("images", [True, False])
def test_finish_ties_what_is_left_and_folds(schedule: str, images: bool) -> None:
    if schedule == "merge" and not images:
        with pytest.raises(pdc.PDCError, match="measures channels on images"):
            pruner_of(network(), images=None, schedule=schedule)
        return
    model = network()
    pruner = pruner_of(model, schedule=schedule, images=X if images else None)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    pruner.attach(optimizer)
    if schedule != "tied":
        train(model, optimizer, 2, pruner=pruner)
    small = pruner.finish().eval()
    assert pdc.check_equal(model.eval(), small, X).relative < 1e-9
    assert {name: int(a.max()) + 1 for name, a in pruner.tying.labels.items()} == plan_of(network()).counts
    assert "tied: fold() gives the small network" in str(pruner.summary())


def test_finish_refits_the_readers_which_loses_less_than_averaging() -> None:
    losses = []
    for images in (FEW.prepare(FEW.train.images[:128]), None):
        model = copy.deepcopy(MODEL)
        pruner = pdc.Pruner(
            model, pdc.Plan.uniform(pdc.trace(MODEL, torch.zeros(1, 1, 8, 8)), 0.5), torch.zeros(1, 1, 8, 8),
            steps=10, images=images, schedule="progressive",
        )  # fmt: skip
        losses.append(pdc.evaluate(pruner.finish(), FEW, FEW.val).loss)
    assert losses[0] < losses[1]


def test_progress_is_told_where_the_length_of_the_loop_is_not_known() -> None:
    counted, told = network(), network()
    one, other = pruner_of(counted, steps=10), pruner_of(told, steps=None)
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9) for model in (counted, told)]
    one.attach(optimizers[0])
    other.attach(optimizers[1])
    for step in range(10):
        other.progress((step + 1) / 10)
        train(counted, optimizers[0], 1, step)
        train(told, optimizers[1], 1, step)
    assert same_networks(counted, told)
    for call, match in ((lambda: one.progress(0.5), "counts its 10 steps"), (lambda: other.progress(0.2), "from 1")):
        with pytest.raises(pdc.PDCError, match=match):
            call()


def test_the_summary_counts_what_is_tied_now() -> None:
    model = network()
    pruner = pruner_of(model, steps=9)
    graph, before = pruner.graph, {g.name: g.size for g in pruner.graph.clusterable}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    assert {each.name: each.now for each in pruner.summary().groups} == before
    pruner.attach(optimizer)
    train(model, optimizer, 1)
    middle = pruner.summary()
    for each in middle.groups:
        layer = model.get_submodule(each.name).weight.detach()
        assert len(torch.unique(layer, dim=0)) == each.now
        assert each.end < each.now < each.size
    assert middle.macs_end < middle.macs_now < middle.macs_before
    assert middle.macs_now == pdc.plan_cost(graph, {each.name: each.now for each in middle.groups}).macs
    assert str(middle).count("\n") == len(before) + 2
    assert not middle.tied


def test_what_the_settings_cannot_be_is_said_at_once() -> None:
    model = network()
    for changes, match in (
        ({"lr": 0.1}, "no setting 'lr'; choose among schedule"),
        ({"tied_after": 2.0}, "tied_after"),
        ({"schedule": "magic"}, "schedule"),
        ({"outputs": "magic"}, "softmax, sigmoid, matching"),
        ({"recluster_every": 0}, "recluster_every"),
        ({"steps": 0}, "steps=0"),
    ):
        with pytest.raises(pdc.PDCError, match=match):
            pruner_of(model, **changes)
