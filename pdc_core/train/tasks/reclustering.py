"""Soft clusters: filters may change sides at every epoch until a freeze point, while the strength already rises."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from pdc_core.clustering import IntArray, Labels
from pdc_core.graph import ChannelGraph
from pdc_core.train.settings import Training
from pdc_core.train.tasks.pdc import PDCTask


class Recluster(PDCTask):
    """PDC's one stage with clusters made anew from the student as it is, at the start of every epoch until `freeze`.

    Parameters
    ----------
    teacher, graph, labels, settings : as for `PDCTask`.
    cluster : makes labels from a network in eval mode.

    Source: in the manner of ASCP (arXiv 2206.08186, abstract: clusters that change while training goes on); our choice.
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

    def before_epoch(self, epoch: int, progress: float) -> None:
        if epoch > 0 and progress < self.settings.recluster_until:
            training = self.student.training
            with torch.no_grad():
                self.relabel(self.cluster(self.student.eval()))
            self.student.train(training)
