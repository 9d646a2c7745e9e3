"""An optimiser that goes on with the folded network: its memory becomes what it would be of the folded weights.

With A the linear map that folds weights (one row per cluster, its readers' columns added up), the gradients that the
folded network would have had are A g, as long as tied gradients are summed: rows of a cluster then all hold their sum,
and its readers' columns each 1/m of it. So averages of gradients go through A, and averages of their squares through
A between a square root and a square.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from pdc_core.clustering import Labels
from pdc_core.errors import PDCError
from pdc_core.graph import ChannelGraph
from pdc_core.reconstruct.optimizers import other_state, per_weight_state
from pdc_core.train.shrink import folded_slot

# Averages of squares, by the names that torch's optimisers give them; everything else is an average of gradients.
SQUARES = ("exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum", "acc_delta")


@torch.no_grad()
def fold_optimizer_(
    optimizer: torch.optim.Optimizer, model: nn.Module, small: nn.Module, graph: ChannelGraph, labels: Labels
) -> torch.optim.Optimizer:
    """Let an optimiser go on with the folded network, with its settings and groups. In place; return it.

    Parameters
    ----------
    optimizer : Optimizer
        Trains `model`; learning rate schedules that hold it stay valid.
    model : Module
        The network at full width, tied.
    small : Module
        Its fold.
    graph : ChannelGraph
        The trace of `model`.
    labels : dict of str to int array (n,)
        The clusters that were folded.

    Raises
    ------
    PDCError
        It keeps factored or quantised statistics of a folded weight.
    """
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    folded = dict(small.named_parameters())
    for p, name in names.items():
        odd = other_state(optimizer.state.get(p, {}), p)
        if odd and folded[name].shape != p.shape:
            raise PDCError(
                f"{type(optimizer).__name__} keeps {', '.join(odd)} of {name} in another form than one number per "
                "weight, which cannot be folded. Use pruner.fold() and a new optimiser for the folded network."
            )
    slots = {key for p in names for key in per_weight_state(optimizer.state.get(p, {}), p)}
    slots_folded = {key: folded_slot(optimizer, key, model, graph, labels, key in SQUARES) for key in slots}
    state: defaultdict[Any, Any] = defaultdict(dict)
    for q, own in optimizer.state.items():
        if q not in names:
            state[q] = own
            continue
        per_weight, name = per_weight_state(own, q), names[q]
        state[folded[name]] = {
            key: slots_folded[key][name].to(value.dtype) if key in per_weight else value for key, value in own.items()
        }
    for group in optimizer.param_groups:
        group["params"][:] = [folded[names[p]] if p in names else p for p in group["params"]]
    optimizer.state = state
    return optimizer
