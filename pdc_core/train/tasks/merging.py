"""Schedule "merge": during training, k falls from n to the planned count, and the layers that read it are refitted.

At a few steps until `tied_after`, the filters of every cluster that the others replace best are merged into those
(`merge_filters_`). Between two merges, merged filters stay tied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pdc_core.clustering import IntArray, Labels, channel_covariances, check_labels
from pdc_core.graph import ChannelGraph, ChannelGroup
from pdc_core.reconstruct import deviation, merge_filters_
from pdc_core.registry import Variant
from pdc_core.train.settings import Training
from pdc_core.train.tasks.pdc import PDCInput, PDCTask
from pdc_core.train.tasks.registry import SCHEDULES


class StepwiseMerge(PDCTask):
    """PDC's one stage where clusters form by merging, a few filters at a time.

    Parameters
    ----------
    teacher : Module
        As for `PDCTask`, like `graph` and `labels`.
    graph : ChannelGraph
        Its trace.
    labels : mapping of str to int array, shape (n,)
        The clusters of the end.
    settings : Training
        `merges`, `tied_after` and `merge_decay` say how often filters merge, until when, and whether more of them merge
        early or late.
    images : Tensor, shape (b, c, h, w)
        Prepared images on which the channels are measured at every merge.

    Source: gradually more identical filters (PDC, doi 10.1016/j.imavis.2023.104743, abstract). Which filters merge
    when, and solving the readers, are our choice; so is the decay k_j = n (k/n)^((j/merges)^merge_decay).
    """

    def __init__(
        self,
        teacher: nn.Module,
        graph: ChannelGraph,
        labels: Mapping[str, IntArray],
        settings: Training,
        images: Tensor,
    ) -> None:
        super().__init__(teacher, graph, labels, settings)
        self.images = images
        self.final = {name: a for name, a in check_labels(graph, labels).items() if a.max() + 1 < len(a)}
        self.now: Labels = {name: np.arange(len(a)) for name, a in self.final.items()}
        self.merged = 0

    @classmethod
    def begin(cls, given: PDCInput) -> StepwiseMerge:
        return cls(given.teacher, given.graph, given.cluster(given.teacher), given.settings, given.images)

    def place(self, device: torch.device) -> None:
        super().place(device)
        self._merge_until(0.0)

    @property
    def tied(self) -> Labels:
        return self.now

    def before_step(self) -> None:
        self._scale_gradients_()
        for each in self.gradients:
            each.apply_(1.0)

    def after_step(self, progress: float) -> None:
        self.progress = progress
        self._merge_until(progress)
        self._tie_(1.0)

    def _merge_until(self, progress: float) -> None:
        """Do the merges that are due: merge j of m at (j-1)/(m-1) of `tied_after`, the first before the first step."""
        m = self.settings.merges
        due = min(m, 1 + int(progress / self.settings.tied_after * (m - 1) + 1e-9))
        if due > self.merged:
            self.merged = due
            self._merge_((due / m) ** self.settings.merge_decay)

    @torch.no_grad()
    def _merge_(self, share: float) -> None:
        """Merge every group down to n (k/n)^share filters."""
        training, groups = self.student.training, [self.graph.group(name) for name in self.final]
        measured = channel_covariances(self.student.eval(), groups, self.images)
        for group in groups:
            a, now = self.final[group.name], self.now[group.name]
            k = _count(group, int(a.max()) + 1, share)
            if k <= now.max():
                self.now[group.name], _ = merge_filters_(self.student, group, measured[group.name], a, k, now)
        self.student.train(training)
        self.strength = share  # of the way to the plan's counts; what is merged is tied whole
        self._bind()

    def settle_(self) -> None:
        if not self.settled:  # ended before the last merge: do it now, since averaging alone would lose far more
            self.merged = self.settings.merges
            self._merge_(1.0)
        super().settle_()

    def figures(self) -> dict[str, float]:
        """Return the share of the way, and how far the filters are from the clusters of the end."""
        folded = self.wide is not None
        away = 0.0 if folded else deviation(self.student, self.graph, self.labels, self.settings.centroid)
        return {"strength": self.strength, "deviation": away}

    def state_dict(self) -> dict[str, Any]:
        now = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in self.now.items()}
        return {**super().state_dict(), "now": now, "merged": self.merged}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.now = {name: a.cpu().numpy() for name, a in state["now"].items()}
        self.merged = int(state["merged"])
        super().load_state_dict(state)


def _count(group: ChannelGroup, k: int, share: float) -> int:
    """Return n (k/n)^share, rounded to what the group's blocks allow; k itself at the end."""
    n, blocks = group.size, group.blocks
    return k if share >= 1 else max(k, blocks * round(n * (k / n) ** share / blocks))


SCHEDULES["merge"] = Variant(StepwiseMerge.begin, "merge filters in a few steps, and refit the layers that read them")
