"""The methods that PDC is compared with: each makes a small network before any training.

A new one is a function and its entry in METHODS, both in this file.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from pdc_core.baselines.deletion import delete
from pdc_core.baselines.selection import select_filters
from pdc_core.clustering import assign
from pdc_core.copies import twin
from pdc_core.data import Data
from pdc_core.errors import PDCError
from pdc_core.folding import fold
from pdc_core.graph import ChannelGraph
from pdc_core.norms import reestimate_norms_
from pdc_core.plan import Plan
from pdc_core.reconstruct import reconstruct_
from pdc_core.registry import Variant


@dataclass(frozen=True)
class PruningInput:
    """What a method is given.

    Attributes
    ----------
    model : Module
        The trained network, in eval mode.
    graph : ChannelGraph
        Its trace.
    plan : Plan
        Filters kept per group.
    data : Data
        Training images may be looked at.
    seed : int, default 0
        Seed of whatever is random, 0 or more.
    """

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
    vectors = "raw" if given.plan.vectors == "activations" else None  # it looks at no data
    labels = assign(given.model, given.graph, given.plan, seed=given.seed, vectors=vectors)
    tied = reconstruct_(twin(given.model), given.graph, labels, weights="uniform")
    return fold(tied, given.graph, labels)


def folding_bn(given: PruningInput) -> nn.Module:
    """Fold without data, then re-estimate the norm statistics on 2,000 training images."""
    return reestimate_norms_(folding(given), given.data.prepare(given.data.train.sample(2000).images))


def scratch(given: PruningInput) -> nn.Module:
    """Take the small architecture with new random weights: is anything of the old network worth keeping?

    Convolutions and linear layers are drawn as He et al. do for ReLU (arXiv 1502.01852); norms start as the identity,
    other layers as PyTorch makes them. A network with parameters of its own, of which nobody can say how they begin, is
    refused.
    """
    small, generator = l1(given), torch.Generator().manual_seed(given.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(given.seed)
        for name, module in small.named_modules():
            if isinstance(module, _ConvNd | nn.Linear):
                nn.init.kaiming_normal_(module.weight, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif (reset := getattr(module, "reset_parameters", None)) is not None:
                reset()
            elif own := next((own for own, _ in module.named_parameters(recurse=False)), None):
                raise PDCError(
                    f"Method 'scratch' needs new weights, and how the parameter {f'{name}.{own}'.lstrip('.')} of "
                    f"{type(module).__name__} begins is not known, since it has no reset_parameters(); choose another "
                    "method, or give the module one."
                )
    return small


def whole(given: PruningInput) -> nn.Module:
    """Keep every filter: what the same training gives without pruning."""
    return twin(given.model)


WHOLE = "whole"  # the one method that the plan does not concern
METHODS: dict[str, Variant[[PruningInput], nn.Module]] = {
    "l1": Variant(l1, "delete the filters of smallest L1 norm, then train"),
    "fpgm": Variant(fpgm, "delete the filters nearest to the geometric median, then train"),
    "random": Variant(random, "delete filters at random, then train"),
    "folding": Variant(folding, "fold clusters at once, without data, then train"),
    "folding_bn": Variant(folding_bn, "fold at once, re-estimate the norms, then train"),
    "scratch": Variant(scratch, "train the small network from random weights"),
    WHOLE: Variant(whole, "train as long without pruning: the reference"),
}
# Everything that a run's `method` may name: PDC itself, and what it is compared with.
METHOD_HELP = {"pdc": "merge filters while training (PDC)", **{name: each.help for name, each in METHODS.items()}}
