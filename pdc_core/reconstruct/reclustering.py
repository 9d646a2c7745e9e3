"""Schedule "recluster": filters may change clusters now and then until a given share of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from pdc_core.clustering import IntArray, Labels
from pdc_core.graph import ChannelGraph
from pdc_core.reconstruct.schedules import SCHEDULES
from pdc_core.reconstruct.tying import Tying, TyingInput, TyingSettings, evaluating, share_
from pdc_core.registry import Variant


class ReclusteredTying(Tying):
    """Pull filters together in clusters that may still change until `recluster_until`.

    Parameters
    ----------
    model : Module
        The network that is trained. It is changed in place.
    graph : ChannelGraph
        Its trace.
    labels : dict of str to int array (n,)
        The clusters of the start, by the name of their group.
    settings : TyingSettings
        How filters become identical, and when.
    cluster : callable
        Makes labels from a network in eval mode.

    Source: in the manner of ASCP (arXiv 2206.08186, abstract: clusters that change while training goes on); our choice.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: ChannelGraph,
        labels: Mapping[str, IntArray],
        settings: TyingSettings,
        cluster: Callable[[nn.Module], Labels],
    ) -> None:
        super().__init__(model, graph, labels, settings)
        self.cluster = cluster

    @property
    def may_change(self) -> bool:
        return self.progress < self.settings.recluster_until

    @torch.no_grad()
    def recluster(self, progress: float) -> None:
        """Cluster the network as it is now, unless the clusters are kept from here on.

        Parameters
        ----------
        progress : float, 0 to 1
            How far the run is.
        """
        if progress < self.settings.recluster_until:
            with evaluating(self.model):
                labels = self.cluster(self.model)
            self.relabel(share_(None, labels))


def _reclustered(given: TyingInput) -> ReclusteredTying:
    return ReclusteredTying(given.model, given.graph, given.labels(), given.settings, given.cluster)


SCHEDULES["recluster"] = Variant(_reclustered, "as progressive, with new clusters at every epoch early in the run")
