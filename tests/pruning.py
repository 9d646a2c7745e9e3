"""A small network in a loop of one's own with a pruner attached, which several tests share."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import pdc_core as pdc
from tests.networks import chain, lively_

X = torch.randn(24, 2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.arange(24) % 3


def network(seed: int = 0) -> nn.Module:
    return lively_(chain(6), seed).train()


def plan_of(model: nn.Module, keep: float = 0.5, residual: str = "internal") -> pdc.Plan:
    return pdc.Plan.uniform(pdc.trace(copy.deepcopy(model).eval(), X[:1], residual=residual), keep)


def pruner_of(model: nn.Module, steps: int | None = 10, **changes: Any) -> pdc.Pruner:
    given = {"images": X, "merges": 3, "tied_after": 0.5, **changes}
    return pdc.Pruner(model, plan_of(model), X[:1], steps=steps, **given)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, first: int = 0, pruner: Any = None) -> None:
    for i in range(first, first + steps):
        chosen = torch.arange(i, i + 12) % 24
        out = model(X[chosen].to(next(model.parameters()).dtype))
        loss = F.cross_entropy(out, Y[chosen])
        if pruner is not None:
            loss = loss + pruner.guidance(X[chosen].to(out.dtype), out)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
