"""Preview: what a plan would be right now, folded without any training, its norms re-estimated."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from pdc_core.clustering import IntArray, assign
from pdc_core.costs import cost
from pdc_core.data import Data, Split
from pdc_core.folding import fold
from pdc_core.graph import ChannelGraph
from pdc_core.norms import reestimate_norms_
from pdc_core.plan import Plan
from pdc_core.reconstruct import reconstruct_
from pdc_core.train import evaluate


@dataclass(frozen=True)
class Preview:
    """A plan folded without training.

    Attributes
    ----------
    accuracy, before : top-1 of the folded and of the whole network on the same validation images, 0 to 1.
    images : how many.
    macs, params : of the folded network, counted on it.
    seconds : that it took.
    """

    accuracy: float
    before: float
    images: int
    macs: int
    params: int
    seconds: float


@torch.no_grad()
def preview(
    model: nn.Module,
    graph: ChannelGraph,
    plan: Plan,
    data: Data,
    *,
    labels: Mapping[str, IntArray] | None = None,
    images: int = 1000,
    norm_images: int = 1000,
    seed: int = 0,
) -> Preview:
    """Fold a plan without training, re-estimate the norms, and measure it on validation images.

    Parameters
    ----------
    model, graph : a network and its trace; the network is not changed.
    labels : those that `assign` gives for this plan; left out, they are computed.
    images : validation images to measure on; norm_images : training images to re-estimate the norms from.

    Raises
    ------
    PDCError
        The plan does not fit, or the data has no validation images.
    """
    start = time.perf_counter()
    split = Split(data.val.images[:images], data.val.labels[:images])
    before = evaluate(model, data, split).accuracy
    labels = assign(model, graph, plan, seed) if labels is None else labels
    small = fold(reconstruct_(copy.deepcopy(model), graph, labels), graph, labels)
    device = next(model.parameters()).device
    reestimate_norms_(small, data.prepare(data.train.images[:norm_images].to(device)))
    accuracy, price = evaluate(small, data, split).accuracy, cost(small, data.prepare(split.images[:1]))
    return Preview(accuracy, before, len(split), price.macs, price.params, time.perf_counter() - start)
