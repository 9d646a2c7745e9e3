"""The small network, checked, and an optimiser that goes on with it: its memory as it would be of folded weights.

With A the linear map that folds weights (one row per cluster, its readers' columns added up), the gradients that the
folded network would have had are A g, as long as tied gradients are summed: rows of a cluster then all hold their sum,
and its readers' columns each 1/m of it, as SGD keeps them. Other optimisers see every column as the folded one, so what
they keep of a cluster's columns is averaged.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from pdc_core.clustering import Labels
from pdc_core.copies import twin
from pdc_core.errors import PDCError
from pdc_core.folding import fold
from pdc_core.graph import ChannelGraph
from pdc_core.norms import reestimate_norms_
from pdc_core.pruner.checks import check_same
from pdc_core.reconstruct import StepwiseTying, Tying, deviation, evaluating, merge_, reconstruct_
from pdc_core.reconstruct.optimizers import other_state, per_weight_state, steps_are_linear
from pdc_core.train.settings import Training
from pdc_core.train.shrink import folded_slot

TIED = 1e-4  # largest deviation of filters that count as tied: rounding leaves 1e-7, one step of SGD 1e-2


def folded_copy(
    network: nn.Module, graph: ChannelGraph, labels: Labels, settings: Training, images: Tensor | None, *, tie: bool
) -> nn.Module:
    """Return the small network, whose outputs were compared with those of the large one.

    Parameters
    ----------
    network : Module
        At full width; not changed.
    graph : ChannelGraph
        Its trace.
    labels : dict of str to int array (n,)
        The clusters of the end.
    settings : Training
        The pruner's.
    images : Tensor, shape (b, c, h, w), or None
        Inputs of which a few are compared.
    tie : bool
        Whether the filters are yet to be tied, as those of a moving average.

    Raises
    ------
    PDCError
        The filters have come apart, or the two networks do not compute the same.
    """
    tied = reconstruct_(twin(network), graph, labels, 1.0, settings.centroid)
    away = deviation(network, graph, labels, settings.centroid)
    if not tie and away > TIED:
        raise PDCError(
            f"Filters that were tied have come apart (deviation {away:.1e}): their weights were changed behind the "
            "optimiser, for example by load_state_dict. Make a step, or call pruner.finish()."
        )
    small = fold(tied, graph, labels)
    check_same(tied if tie else network, small, graph.input_shape, images)
    return small


def tie_what_is_left_(model: nn.Module, graph: ChannelGraph, tying: Tying, images: Tensor | None) -> None:
    """Merge the filters that are not tied, with readers refitted where there are images. In place.

    Parameters
    ----------
    model : Module
        The network.
    graph : ChannelGraph
        Its trace.
    tying : Tying
        What was tied so far; from here on all is.
    images : Tensor, shape (b, c, h, w), or None
        Inputs on which channels and norms are measured.
    """
    if images is not None and not (isinstance(tying, StepwiseTying) and not tying.settled):
        final = {name: a for name, a in tying.labels.items() if a.max() + 1 < len(a)}
        alone: Labels = {name: torch.arange(len(a)).numpy() for name, a in final.items()}
        merge_(model, graph, final, alone, images)
    tying.settle_()
    tying.strength = 1.0
    tying.bind()
    if images is not None:
        weights = next(model.parameters())
        with evaluating(model):
            reestimate_norms_(model, images.to(weights.device, weights.dtype))


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
    averaged = not steps_are_linear(optimizer)
    slots_folded = {key: folded_slot(optimizer, key, model, graph, labels, averaged) for key in slots}
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
