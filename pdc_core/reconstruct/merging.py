"""Schedule "merge": during training, k falls from n to the planned count, and the layers that read it are refitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pdc_core.clustering import IntArray, Labels, ReaderCovariances, channel_covariances, check_labels
from pdc_core.errors import PDCError
from pdc_core.graph import ChannelGraph, ChannelGroup
from pdc_core.norms import reestimate_norms_
from pdc_core.reconstruct.projection import deviation
from pdc_core.reconstruct.representatives import merge_group_
from pdc_core.reconstruct.schedules import SCHEDULES
from pdc_core.reconstruct.tying import (
    Tying,
    TyingInput,
    TyingSettings,
    evaluating,
    labels_as_arrays,
    labels_as_tensors,
    share_,
)
from pdc_core.registry import Variant


class StepwiseTying(Tying):
    """Merge filters step by step: k falls from n to the plan's count, and readers are refitted after every merge.

    At a few moments until `tied_after`, in every cluster, the filters that the others replace best are merged into
    those (`merge_filters_`). Between two moments the filters that are merged stay tied.

    Parameters
    ----------
    model : Module
        The network that is trained. It is changed in place.
    graph : ChannelGraph
        Its trace.
    labels : dict of str to int array (n,)
        The clusters of the end, by the name of their group.
    settings : TyingSettings
        `merges`, `tied_after` and `merge_decay` say how often filters merge, until when, and whether more merge early.
    images : Tensor, shape (b, c, h, w)
        Prepared images on which the channels are measured at every merge.

    Source: gradually more identical filters (PDC, doi 10.1016/j.imavis.2023.104743, abstract). Which filters merge
    when, and solving the readers, are our choice; so is the decay k_j = n (k/n)^((j/merges)^merge_decay).
    """

    def __init__(
        self,
        model: nn.Module,
        graph: ChannelGraph,
        labels: Mapping[str, IntArray],
        settings: TyingSettings,
        images: Tensor,
    ) -> None:
        super().__init__(model, graph, labels, settings)
        if settings.merges is None:
            raise PDCError(
                "merges is None, which follows the length of a run: give a number, or settings.for_steps(steps)."
            )
        self.merges = settings.merges
        self.images = images
        self.final = {name: a for name, a in check_labels(graph, labels).items() if a.max() + 1 < len(a)}
        self.now: Labels = {name: np.arange(len(a)) for name, a in self.final.items()}
        self.merged = 0

    @property
    def tied(self) -> Labels:
        return self.now

    @property
    def gradient_strength(self) -> float:
        return 1.0

    def begin(self) -> None:
        super().begin()
        self._merge_until(0.0)

    def after_step(self, progress: float) -> None:
        """Do the merge that is due, and tie what is merged. In place.

        Parameters
        ----------
        progress : float, above 0 to 1
            How far the run is after this step.
        """
        self.step_made()
        self.progress = progress
        self._merge_until(progress)
        self._tie_(1.0)

    def settle_(self) -> None:
        if not self.settled:  # ended before the last merge: do it now, since averaging alone would lose far more
            self.merged = self.merges
            self._merge_(1.0)
        super().settle_()

    def deviation(self) -> float:
        """Return how far the filters are from the clusters of the end."""
        return deviation(self.model, self.graph, self.labels, self.settings.centroid)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "now": labels_as_tensors(self.now), "merged": self.merged}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; `begin` binds the network to it.

        Parameters
        ----------
        state : dict
            What `state_dict` returned.
        """
        super().load_state_dict(state)
        self.now = labels_as_arrays(state["now"])
        self.merged = int(state["merged"])
        self.final = {name: a for name, a in check_labels(self.graph, self.labels).items() if name in self.now}

    def _merge_until(self, progress: float) -> None:
        """Do the merges that are due: merge j of m at (j-1)/(m-1) of `tied_after`, the first before the first step."""
        m = self.merges
        due = min(m, 1 + int(progress / self.settings.tied_after * (m - 1) + 1e-9))
        if due > self.merged:
            self.merged = due
            self._merge_((due / m) ** self.settings.merge_decay)

    @torch.no_grad()
    def _merge_(self, share: float) -> None:
        """Merge every group down to n (k/n)^share filters, and let norms that train see what they now read.

        Training uses the statistics of its batches; the running ones, which evaluation uses, would lag 50 steps behind.
        """
        before = self.now
        self.now = merge_(self.model, self.graph, self.final, before, self.images, share)
        self.strength = share  # of the way to the plan's counts; what is merged is tied whole
        self.bind()
        if all(np.array_equal(self.now[name], a) for name, a in before.items()):
            return
        modes = {module: module.training for module in self.model.modules()}
        reestimate_norms_(self.model, self.images, training_only=True)
        for module, training in modes.items():
            module.training = training


@torch.no_grad()
def merge_(
    model: nn.Module,
    graph: ChannelGraph,
    final: Labels,
    now: Labels,
    images: Tensor,
    share: float = 1.0,
    measured: Mapping[str, ReaderCovariances] | None = None,
) -> Labels:
    """Merge every group down to n (k/n)^share filters, and refit the layers that read them. In place.

    Parameters
    ----------
    model : Module
        The network; filters that share a cluster of `now` are tied. It stays in the mode in which it is.
    graph : ChannelGraph
        Its trace.
    final, now : dict of str to int array (n,)
        The clusters of the end, and those that are tied already, of the same groups.
    images : Tensor, shape (b, c, h, w)
        Prepared images on which channels are measured.
    share : float, 0 to 1, default 1.0
        Of the way to the clusters of the end.
    measured : mapping of str to ReaderCovariances, optional
        What `channel_covariances` gives for these groups, with these images, if it is known.

    Returns
    -------
    dict of str to int array (n,)
        The clusters that are tied now; the first process's, with its weights, where several train together.

    Raises
    ------
    PDCError
        What the layers read on the images is not finite.
    """
    groups, merged = [graph.group(name) for name in final], dict(now)
    images = images.to(next(model.parameters()).dtype)  # the network may have been cast since
    if measured is None:
        with evaluating(model):
            measured = channel_covariances(model, [group for group in groups if group.readers], images)
    if lost := [name for name, each in measured.items() if not all(c.isfinite().all() for c in each.covariances)]:
        raise PDCError(
            f"The network's activations in group {lost[0]!r} are not finite on the images, so filters cannot be "
            "merged. Training has diverged (lower the learning rate, clip gradients), or the images hold NaN or "
            "infinite numbers."
        )
    for group in groups:
        a = final[group.name]
        k = _count(group, int(a.max()) + 1, share)
        if k > now[group.name].max():
            continue
        merged[group.name] = merge_group_(model, group, measured.get(group.name), a, k, now[group.name])
    return share_(model, merged)


def _count(group: ChannelGroup, k: int, share: float) -> int:
    """Return n (k/n)^share, rounded to what the group's blocks allow; k itself at the end."""
    n, blocks = group.size, group.blocks
    return k if share >= 1 else max(k, blocks * round(n * (k / n) ** share / blocks))


def _stepwise(given: TyingInput) -> StepwiseTying:
    if given.images is None:
        raise PDCError(
            "schedule 'merge' measures channels on images at every merge; give images, a tensor of prepared inputs "
            "(512 are enough), or choose schedule='progressive'."
        )
    return StepwiseTying(given.model, given.graph, given.labels(), given.settings, given.images)


SCHEDULES["merge"] = Variant(_stepwise, "merge filters in a few steps, and refit the layers that read them")
