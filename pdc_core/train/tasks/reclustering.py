"""Schedule "recluster": filters may change clusters at every epoch until a given share of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from pdc_core.clustering import IntArray, Labels
from pdc_core.graph import ChannelGraph
from pdc_core.registry import Variant
from pdc_core.train.settings import Training
from pdc_core.train.tasks.pdc import PDCInput, PDCTask
from pdc_core.train.tasks.registry import SCHEDULES


class Recluster(PDCTask):
    """PDC's one stage where the student is clustered again at the start of every epoch until `recluster_until`.

    Parameters
    ----------
    teacher : Module
        As for `PDCTask`, like `graph`, `labels` and `settings`.
    graph : ChannelGraph
        Its trace.
    labels : mapping of str to int array, shape (n,)
        The clusters of the first epoch.
    settings : Training
        `recluster_until` is read here.
    cluster : callable
        Makes labels from a network in eval mode.

    Source: in the manner of ASCP (arXiv 2206.08186, abstract: clusters that change during training); our choice.
    """

    def __init__(
        self,
        teacher: nn.Module,
        graph: ChannelGraph,
        labels: Mapping[str, IntArray],
        settings: Training,
        cluster: Callable[[nn.Module], Labels],
    ) -> None:
        super().__init__(teacher, graph, labels, settings)
        self.cluster = cluster

    @classmethod
    def begin(cls, given: PDCInput) -> Recluster:
        return cls(given.teacher, given.graph, given.cluster(given.teacher), given.settings, given.cluster)

    def before_epoch(self, epoch: int, progress: float) -> None:
        if epoch > 0 and progress < self.settings.recluster_until:
            training = self.student.training
            with torch.no_grad():
                self.relabel(self.cluster(self.student.eval()))
            self.student.train(training)


SCHEDULES["recluster"] = Variant(Recluster.begin, "as progressive, with new clusters at every epoch early in the run")
