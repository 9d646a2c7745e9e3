"""The methods that PDC is compared with: each makes a small network before any training. One function a method."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from pdc_core.baselines.deletion import delete
from pdc_core.baselines.selection import select_filters
from pdc_core.clustering import assign
from pdc_core.data import Data
from pdc_core.folding import fold
from pdc_core.graph import ChannelGraph
from pdc_core.norms import reestimate_norms_
from pdc_core.plan import Plan
from pdc_core.reconstruct import reconstruct_


@dataclass(frozen=True)
class PruningInput:
    """What a method is given: a trained network in eval mode, its trace, a plan, the data and a seed."""

    model: nn.Module
    graph: ChannelGraph
    plan: Plan
    data: Data
    seed: int = 0


def l1(given: PruningInput) -> nn.Module:
    """Delete the filters of smallest L1 norm (arXiv 1608.08710)."""
    return delete(given.model, given.graph, select_filters(given.model, given.graph, given.plan, "l1"))


def fpgm(given: PruningInput) -> nn.Module:
    """Delete the filters nearest to the geometric median (arXiv 1811.00250)."""
    return delete(given.model, given.graph, select_filters(given.model, given.graph, given.plan, "fpgm"))


def random(given: PruningInput) -> nn.Module:
    """Delete filters at random (arXiv 1801.10447)."""
    return delete(given.model, given.graph, select_filters(given.model, given.graph, given.plan, "random", given.seed))


def folding(given: PruningInput) -> nn.Module:
    """Cluster raw filters by k-means, average them uniformly, fold: no data (model folding, arXiv 2502.10216)."""
    labels = assign(given.model, given.graph, given.plan, seed=given.seed)
    tied = reconstruct_(copy.deepcopy(given.model), given.graph, labels, weights="uniform")
    return fold(tied, given.graph, labels)


def folding_bn(given: PruningInput) -> nn.Module:
    """Fold without data, then measure the norm statistics again on 2,000 training images."""
    return reestimate_norms_(folding(given), given.data.prepare(given.data.train.images[:2000]))


def scratch(given: PruningInput) -> nn.Module:
    """Take the folded architecture with new random weights: is anything of the old network worth keeping?

    Convolutions and linear layers are drawn as He et al. (arXiv 1502.01852) for ReLU, norms start at identity.
    """
    small, generator = l1(given), torch.Generator().manual_seed(given.seed)
    for module in small.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.reset_parameters()
    return small


METHODS: dict[str, Callable[[PruningInput], nn.Module]] = {
    "l1": l1,
    "fpgm": fpgm,
    "random": random,
    "folding": folding,
    "folding_bn": folding_bn,
    "scratch": scratch,
}
