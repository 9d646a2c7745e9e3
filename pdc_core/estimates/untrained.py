"""A whole plan merged as a training begins, folded right now, and measured without any training."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from pdc_core.batch_sizes import images_at_once
from pdc_core.clustering import IntArray, ReaderCovariances, assign, channel_covariances, check_labels
from pdc_core.clustering.labels import merged_groups
from pdc_core.copies import twin
from pdc_core.costs import cost
from pdc_core.data import Data
from pdc_core.errors import PDCError
from pdc_core.estimates.sensitivities import MERGE_IMAGES, SENSITIVITY_IMAGES, divergence, log_softmax
from pdc_core.folding import fold
from pdc_core.graph import ChannelGraph
from pdc_core.norms import reestimate_norms_
from pdc_core.plan import Plan
from pdc_core.reconstruct import merge_
from pdc_core.train import evaluate

PREVIEW_IMAGES = 1000  # validation images, unless others are asked for
_BATCH = 512


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
        Validation images to measure on, a sample of the split.
    merge_images : int, default 512
        Training images on which channels are measured and norms re-estimated, a sample of the split, 2 or more.
    seed : int, default 0
        Seed of the clustering, 0 or more.

    Raises
    ------
    PDCError
        The plan does not fit, or the data has no validation images.
    """
    start = time.perf_counter()
    split = data.val.sample(images)
    before = evaluate(model, data, split).accuracy
    x = data.prepare(data.train.sample(merge_images).images.to(next(model.parameters()).device))
    labels = check_labels(graph, assign(model, graph, plan, seed, images=x) if labels is None else labels)
    small = _folded(model, graph, labels, x)
    accuracy, price = evaluate(small, data, split).accuracy, cost(small, data.prepare(split.images[:1]))
    recalibrated = evaluate(reestimate_norms_(small, x), data, split).accuracy
    return Preview(accuracy, recalibrated, before, len(split), price.macs, price.params, time.perf_counter() - start)


class WholeMerges:
    """Whole plans merged, one after another, and how far each moves the network's answers.

    Parameters
    ----------
    model : Module
        The network, in eval mode; not changed.
    graph : ChannelGraph
        Its trace.
    data : Data
        Validation images to measure on, training images for the merge.
    images : int, default 500
        Validation images to measure on, a sample of the split.
    merge_images : int, default 512
        Training images on which channels are measured and norms re-estimated, a sample of the split, 2 or more.

    Raises
    ------
    PDCError
        The data has no validation images.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: ChannelGraph,
        data: Data,
        *,
        images: int = SENSITIVITY_IMAGES,
        merge_images: int = MERGE_IMAGES,
    ) -> None:
        if len(data.val) == 0:
            raise PDCError(f"{data.name} has no validation images to measure a plan on; hold some back.")
        self.model, self.graph, self.data = model, graph, data
        self.x = data.prepare(data.train.sample(merge_images).images.to(next(model.parameters()).device))
        self.split = data.val.sample(images)

    @torch.no_grad()
    def damage(self, plan: Plan, seed: int = 0) -> float:
        """Return mean KL(p || q) in nats, at least 0: p the network's answers, q those with all groups merged.

        Merged and folded as in `preview`, with norm statistics re-estimated: without that, these outweigh all else. A
        sensitivity measures each group alone, and the sum of that says little about what groups do together. Infinite
        where an answer is not finite.

        Parameters
        ----------
        plan : Plan
            Clusters kept per group.
        seed : int, default 0
            Seed of the clustering, 0 or more.

        Raises
        ------
        PDCError
            The plan does not fit.
        """
        labels = check_labels(self.graph, assign(self.model, self.graph, plan, seed, images=self.x))
        small = _folded(self.model, self.graph, labels, self.x, self._channels)
        answers = self._of(reestimate_norms_(small, self.x))
        return divergence(self._answers, answers) if answers.isfinite().all() else math.inf

    @cached_property
    def _channels(self) -> dict[str, ReaderCovariances]:
        return channel_covariances(self.model, [group for group in self.graph.clusterable if group.readers], self.x)

    @cached_property
    def _answers(self) -> Tensor:
        return self._of(self.model)

    def _of(self, network: nn.Module) -> Tensor:
        at_once = images_at_once(self.data.shape, _BATCH, self.x.device)
        return log_softmax(
            network(self.data.prepare(part.to(self.x.device))) for part, _ in self.split.batches(at_once)
        )


def _folded(
    model: nn.Module,
    graph: ChannelGraph,
    labels: dict[str, IntArray],
    images: Tensor,
    measured: Mapping[str, ReaderCovariances] | None = None,
) -> nn.Module:
    """Return the network merged as a training begins, and folded."""
    student, merged = twin(model), merged_groups(labels)
    if merged:
        now = {name: np.arange(len(a)) for name, a in merged.items()}
        merge_(student, graph, merged, now, images, measured=measured)
    return fold(student, graph, labels)
