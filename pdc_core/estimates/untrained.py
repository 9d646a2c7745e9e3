"""Preview: a plan merged as a training begins, folded right now, and measured without any training."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pdc_core.clustering import IntArray, assign, check_labels
from pdc_core.clustering.labels import merged_groups
from pdc_core.costs import cost
from pdc_core.data import Data, Split
from pdc_core.estimates.sensitivities import MERGE_IMAGES
from pdc_core.folding import fold
from pdc_core.graph import ChannelGraph
from pdc_core.norms import reestimate_norms_
from pdc_core.plan import Plan
from pdc_core.reconstruct import merge_
from pdc_core.train import evaluate

PREVIEW_IMAGES = 1000  # validation images, unless others are asked for


@dataclass(frozen=True)
class Preview:
    """A plan folded without training.

    Attributes
    ----------
    accuracy : float
        Top-1 accuracy of the folded network, 0 to 1: that of a run's student right after its merge, if it merges once.
    recalibrated : float
        The same with its norm statistics re-estimated, 0 to 1. Nearer to what the first steps of a training compute,
        whose norms use the statistics of the batch. Equal to `accuracy` in a network without batch norms.
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
    recalibrated: float
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
    merge_images: int = MERGE_IMAGES,
    seed: int = 0,
) -> Preview:
    """Merge and fold a plan without training, and measure it on validation images.

    The merge is the one that a training begins with (schedule "merge", all at once): one filter of every cluster stands
    for it, and the layers that read them are refitted.

    Parameters
    ----------
    model : Module
        The network, in eval mode; not changed.
    graph : ChannelGraph
        Its trace.
    plan : Plan
        Clusters kept per group.
    data : Data
        Validation images to measure on, training images for the merge and the norms.
    labels : mapping of str to int array, shape (n,), optional
        Those that `assign` gives for this plan; left out, they are computed.
    images : int, default 1000
        Validation images to measure on, the first ones of the split.
    merge_images : int, default 512
        Training images on which channels are measured and norms re-estimated, the first ones of the split, 2 or more.
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
    x = data.prepare(data.train.images[:merge_images].to(next(model.parameters()).device))
    labels = check_labels(graph, assign(model, graph, plan, seed, images=x) if labels is None else labels)
    student, merged = copy.deepcopy(model), merged_groups(labels)
    if merged:
        merge_(student, graph, merged, {name: np.arange(len(a)) for name, a in merged.items()}, x)
    small = fold(student, graph, labels)
    accuracy, price = evaluate(small, data, split).accuracy, cost(small, data.prepare(split.images[:1]))
    recalibrated = evaluate(reestimate_norms_(small, x), data, split).accuracy
    return Preview(accuracy, recalibrated, before, len(split), price.macs, price.params, time.perf_counter() - start)
