"""The optimiser's memory follows the filters: what it keeps per weight is tied, or folded, as the weights are.

Momentum that still differs within a cluster would pull it apart at the next step.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pdc_core.cluster import IntArray
from pdc_core.graph import ChannelGraph
from pdc_core.graph.tensors import ChannelTensor, output_axes
from pdc_core.reconstruct import Tie

KEPT = ("momentum_buffer", "exp_avg", "exp_avg_sq")  # what SGD and AdamW keep with the shape of a weight


def companions(model: nn.Module, tie: Tie, optimizer: torch.optim.Optimizer) -> list[ChannelTensor]:
    """Return what the optimiser keeps of a group's tensors, laid out as they are; empty before its first step."""
    found = []
    for part in (*tie.group.producers, *tie.group.norms):
        module = model.get_submodule(part.module)
        for name, axis in output_axes(module).items():
            kept: dict[str, Any] = optimizer.state.get(getattr(module, name), {})
            found += [
                ChannelTensor(kept[key], axis, part.channels, is_filter=False)
                for key in KEPT
                if isinstance(kept.get(key), Tensor)
            ]
    return found


def folded_state(
    model: nn.Module,
    graph: ChannelGraph,
    labels: Mapping[str, IntArray],
    optimizer: torch.optim.Optimizer,
    small: nn.Module,
) -> dict[nn.Parameter, Tensor]:
    """Return the momentum that SGD would have on the folded network: tied rows once, readers' columns added up."""
    from pdc_core.cluster import check_labels
    from pdc_core.fold import narrow_

    shadow = copy.deepcopy(model)
    for p, q in zip(model.parameters(), shadow.parameters(), strict=True):
        kept = optimizer.state.get(p, {}).get("momentum_buffer")
        q.data = torch.zeros_like(p) if kept is None else kept.clone()
    folded = dict(narrow_(shadow, graph, check_labels(graph, labels)).named_parameters())
    return {p: folded[name].detach() for name, p in small.named_parameters()}
