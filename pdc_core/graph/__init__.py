"""Channel groups: what ties a network's filters to each other, found by tracing channel ids.

`trace(model, example) -> ChannelGraph` is the way in; plan, cost, cluster, reconstruct and fold stand on it.
"""

from pdc_core.graph.structure import RESIDUALS, ChannelGraph, ChannelGroup, Layer, Slice
from pdc_core.graph.tracing import trace

__all__ = ["RESIDUALS", "ChannelGraph", "ChannelGroup", "Layer", "Slice", "trace"]
