"""Small networks and random labels that several tests share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import pdc_core as pdc
from pdc_core.copies import twin


def chain(channels: int = 6, bias: bool = True, classes: int = 3) -> nn.Sequential:
    """A VGG-like chain with batch norm, pooling, a flatten and two linear layers."""
    return nn.Sequential(
        nn.Conv2d(2, channels, 3, padding=1, bias=bias),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=bias),
        nn.BatchNorm2d(2 * channels),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * channels * 9, 8),
        nn.ReLU(),
        nn.Linear(8, classes),
    )


def lively_(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give a network random weights and norm statistics that matter, in float64 and eval mode."""
    generator = torch.Generator().manual_seed(seed)
    model.double().eval()
    with torch.no_grad():
        for name, t in [*model.named_parameters(), *model.named_buffers()]:
            if not t.is_floating_point():
                continue
            if name.endswith("running_var"):
                t.uniform_(0.5, 2.0, generator=generator)
            elif t.dim() > 1:
                t.normal_(0, (2 / t[0].numel()) ** 0.5, generator=generator)
            else:
                t.normal_(0, 0.3, generator=generator)
                if name.endswith("weight"):
                    t.add_(1)
    return model


def random_labels(graph: pdc.ChannelGraph, keep: float, seed: int = 0) -> dict[str, np.ndarray]:
    """Random labels with the plan's counts, block by block, no cluster empty."""
    random = np.random.default_rng(seed)
    plan = pdc.Plan.uniform(graph, keep)
    labels = {}
    for group in graph.clusterable:
        k = plan.counts[group.name] // group.blocks
        a = np.zeros(group.size, dtype=np.int64)
        for b in range(group.blocks):
            members = np.flatnonzero(group.block == b)
            a[members] = random.permutation(np.r_[np.arange(k), random.integers(0, k, len(members) - k)]) + b * k
        labels[group.name] = a
    return labels


def reconstructed_and_folded(
    model: nn.Module, graph: pdc.ChannelGraph, labels: dict[str, np.ndarray]
) -> tuple[nn.Module, nn.Module]:
    """Return a tied copy of the network and its fold."""
    tied = pdc.reconstruct_(twin(model), graph, labels)
    return tied, pdc.fold(tied, graph, labels)


def counted_macs(model: nn.Module, example: Tensor) -> int:
    """MACs of one example as torch's own counter sees them: the oracle."""
    with FlopCounterMode(display=False) as counter:
        model(example[:1])
    return counter.get_total_flops() // 2


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def unseen(model: nn.Module, graph: pdc.ChannelGraph, example: Tensor) -> set[str]:
    """Return the parameters that the forward pass uses (they get a gradient) and the graph does not know of."""
    probe = twin(model).requires_grad_()
    outputs = [t for t in tree_leaves(probe(example)) if isinstance(t, Tensor)]
    sum(t.sum() for t in outputs).backward()  # type: ignore[union-attr]
    used = {name for name, p in probe.named_parameters() if p.grad is not None}
    known: set[str] = set()
    for group in graph.groups:
        for part in (*group.producers, *group.norms, *group.readers):
            known |= {f"{part.module}."} if part.tensors is None else {path for _, path in part.tensors.paths}
    known |= {f"{name}." for name in graph.whole} | set(graph.whole)
    return {name for name in used if name not in known and not any(name.startswith(k) for k in known if k[-1] == ".")}


def assert_sound(model: nn.Module, x: Tensor, residual: str = "shared", keep: float = 0.5) -> pdc.ChannelGraph:
    """Assert that a network folds exactly at every batch size, at the price foretold, and that nothing is unseen."""
    graph = pdc.trace(model, x[:1], residual)
    assert pdc.plan_cost(graph, {}).macs == counted_macs(model, x)
    assert not unseen(model, graph, x[:1])
    tied, small = reconstructed_and_folded(model, graph, random_labels(graph, keep))
    for inputs in (x, x[:1]):
        assert pdc.check_equal(tied, small, inputs).relative <= 1e-9
    priced = pdc.plan_cost(graph, pdc.Plan.uniform(graph, keep))
    assert (priced.macs, priced.params) == (counted_macs(small, x), parameters(small))
    assert pdc.cost(small, x).macs == priced.macs
    return graph
