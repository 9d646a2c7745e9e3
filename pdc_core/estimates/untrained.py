"""Preview: a plan folded right now, without any training, its norms re-estimated."""

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

PREVIEW_IMAGES = 1000  # validation images, unless others are asked for


@dataclass(frozen=True)
class Preview:
    """A plan folded without training.

    Attributes
    ----------
    accuracy : float
        Top-1 accuracy of the folded network, 0 to 1.
    before : float
        Top-1 accuracy of the whole network on the same validation images, 0 to 1.
    images : int
        How many images these are.
    macs : int
        Multiply-accumulates of the folded network for one image, counted on it.
    params : int
        Parameters of the folded network.
    seconds : float
        How long folding and measuring took.
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
    images: int = PREVIEW_IMAGES,
    norm_images: int = 1000,
    seed: int = 0,
) -> Preview:
    """Fold a plan without training, re-estimate the norms, and measure it on validation images.

    Parameters
    ----------
    model : Module
        The network, in eval mode; not changed.
    graph : ChannelGraph
        Its trace.
    plan : Plan
        Clusters kept per group.
    data : Data
        Validation images to measure on, training images for the norms.
    labels : mapping of str to int array, shape (n,), optional
        Those that `assign` gives for this plan; left out, they are computed.
    images : int, default 1000
        Validation images to measure on, the first ones of the split.
    norm_images : int, default 1000
        Training images on which the norms are re-estimated.
    seed : int, default 0
        Seed of the clustering, 0 or more.

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
