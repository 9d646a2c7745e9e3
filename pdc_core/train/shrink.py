"""Folding in the middle of a run, so that the rest of it is the same training with less work.

A tied network at full width and its fold are one function, but plain SGD moves them differently. With A the linear map
that folds weights (a cluster's rows averaged, its readers' columns added up), the full network's step seen through A is
-lr A A^T g, where g is the folded network's gradient. A A^T is diagonal: 1/m for the rows of a cluster of m filters, m
for the columns that read it. Scaling g by it makes the small network take the steps that the full one would have taken,
up to rounding and as long as filters weigh the same in their centroid, which at strength 1 they nearly do. Our
derivation; weight decay, momentum and norm statistics need nothing, since A maps them as it maps weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from pdc_core.clustering import IntArray, check_labels
from pdc_core.copies import twin
from pdc_core.folding import fold_unchecked_
from pdc_core.graph import ChannelGraph
from pdc_core.graph.tensors import input_axis, layer_of, output_axes, paths_of
from pdc_core.reconstruct import summed_gradients, tie


@torch.no_grad()
def gradient_scales(model: nn.Module, graph: ChannelGraph, labels: Mapping[str, IntArray]) -> dict[str, Tensor]:
    """Return the diagonal of A A^T for every parameter of the folded network, by name.

    Folding a network of ones adds up m ones per reader's column, which is that factor; the rows' 1/m is put in before.

    Parameters
    ----------
    model : Module
        The network at full width; only shapes are read.
    graph : ChannelGraph
        Its trace.
    labels : mapping of str to int array, shape (n,)
        Its clusters.
    """
    ones = twin(model)
    for p in ones.parameters():
        p.data = torch.ones_like(p)
    for each in tie(ones, graph, labels, "uniform"):
        members = torch.bincount(each.a, minlength=each.k)[each.a].to(torch.float32)  # (n,), m of each filter's cluster
        matrix = each.pack()
        each.unpack_(matrix / members.to(matrix.device, matrix.dtype)[:, None])
    return {
        name: p.detach() for name, p in fold_unchecked_(ones, graph, check_labels(graph, labels)).named_parameters()
    }


@torch.no_grad()
def unfold(small: nn.Module, model: nn.Module, graph: ChannelGraph, labels: Mapping[str, IntArray]) -> nn.Module:
    """Return the network at full width that computes what a folded one does: rows repeated, columns shared out equally.

    Parameters
    ----------
    small : Module
        The folded network, trained on.
    model : Module
        The network that was folded, at full width; not changed, only its shapes are used.
    graph : ChannelGraph
        Its trace.
    labels : mapping of str to int array, shape (n,)
        Its clusters.
    """
    full, folded = twin(model), dict(small.named_parameters()) | dict(small.named_buffers())
    rows, columns = _places(full, graph, check_labels(graph, labels))
    for path, target in [*full.named_parameters(), *full.named_buffers()]:
        t = folded.get(path)
        if t is None:
            continue
        if path in rows:
            axis, index = rows[path]
            t = t.index_select(axis, torch.as_tensor(index, device=t.device))
        if path in columns:
            t = _spread_columns(t, *columns[path])
        target.data = t.detach().clone()
    return full


def _places(
    model: nn.Module, graph: ChannelGraph, labels: Mapping[str, IntArray]
) -> tuple[dict[str, tuple[int, IntArray]], dict[str, tuple[IntArray, int, int]]]:
    """Return, per tensor, which full output channel came from which folded one, and which input stays for which.

    The first with the axis of outputs, the second with the axis of inputs and the number of groups.
    """
    stays_out: dict[str, tuple[int, IntArray]] = {}
    stays_in: dict[str, tuple[IntArray, int, int]] = {}
    widths = {layer.name: layer.in_channels for layer in graph.layers}
    for name, a in labels.items():
        if a.max() + 1 == len(a):
            continue
        group, stays = graph.group(name), np.unique(a, return_index=True)[1][a]
        for part in (*group.producers, *group.norms):
            module = layer_of(model, part)
            paths = paths_of(module, part)
            for role, axis in output_axes(module).items():
                width = getattr(module, role).shape[axis]
                _, target = stays_out.setdefault(paths[role], (axis, np.arange(width)))
                target[part.channels] = part.channels[stays]
        for part in group.readers:
            module = layer_of(model, part)
            groups = int(getattr(module, "groups", 1))
            entry = np.arange(widths[part.module]), input_axis(module), groups
            target = stays_in.setdefault(paths_of(module, part)["weight"], entry)[0]
            target[part.channels] = part.channels[stays]
    rows = {path: (axis, np.unique(target, return_inverse=True)[1]) for path, (axis, target) in stays_out.items()}
    return rows, stays_in


def _spread_columns(v: Tensor, target: IntArray, axis: int, groups: int) -> Tensor:
    """Return V from V' = V M with every column of a cluster an equal share of the folded one."""
    if groups > 1:  # each group of a grouped convolution reads its own inputs
        per = len(target) // groups
        parts = [
            _spread_columns(part, target[g * per : (g + 1) * per] - g * per, 1, 1)
            for g, part in enumerate(v.chunk(groups))
        ]
        return torch.cat(parts)
    _, place, members = np.unique(target, return_inverse=True, return_counts=True)
    index = torch.as_tensor(place, device=v.device)
    share = torch.as_tensor(1 / members[place], device=v.device, dtype=v.dtype)
    shape = [1] * v.dim()
    shape[axis] = -1
    return v.index_select(axis, index) * share.reshape(shape)


def folded_momentum(
    model: nn.Module,
    graph: ChannelGraph,
    labels: Mapping[str, IntArray],
    optimizer: torch.optim.Optimizer,
    small: nn.Module,
) -> dict[nn.Parameter, Tensor]:
    """Return the momentum that SGD would have on the folded network: tied rows once, readers' columns added up.

    Parameters
    ----------
    model : Module
        The network at full width, tied; not changed.
    graph : ChannelGraph
        Its trace.
    labels : mapping of str to int array, shape (n,)
        Its clusters.
    optimizer : Optimizer
        Trains `model`.
    small : Module
        The folded network.
    """
    folded = folded_slot(optimizer, "momentum_buffer", model, graph, labels)
    return {p: folded[name] for name, p in small.named_parameters()}


@torch.no_grad()
def folded_slot(
    optimizer: torch.optim.Optimizer,
    slot: str,
    model: nn.Module,
    graph: ChannelGraph,
    labels: Mapping[str, IntArray],
    averaged: bool = False,
) -> dict[str, Tensor]:
    """Return what an optimiser keeps per weight under one key, folded as weights are, by the parameter's name.

    Parameters
    ----------
    optimizer : Optimizer
        Trains `model`; parameters of which it keeps nothing count as 0.
    slot : str
        The key, such as "exp_avg".
    model : Module
        The network at full width, tied; not changed.
    graph : ChannelGraph
        Its trace.
    labels : mapping of str to int array, shape (n,)
        Its clusters.
    averaged : bool, default False
        Whether the columns that read a cluster are averaged; else they are added up.
    """
    shadow = twin(model)
    for p, q in zip(model.parameters(), shadow.parameters(), strict=True):
        own = optimizer.state.get(p, {}).get(slot)
        kept = torch.zeros_like(p) if own is None else own.detach().clone()
        q.data = kept
    if averaged:
        for each in summed_gradients(shadow, graph, labels):
            for weight, share in each.readers:
                weight.mul_(share)
    return {
        name: t.detach() for name, t in fold_unchecked_(shadow, graph, check_labels(graph, labels)).named_parameters()
    }
