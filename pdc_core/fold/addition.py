"""Channel addition on a whole network: which channels stay, what every layer becomes, how the forward pass changes.

`narrow_` does the work on modules and never looks at values beyond adding them, so it needs no trained weights: that is
how `load` rebuilds a folded architecture before its weights arrive.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from pdc_core.cluster import IntArray, Labels, check_labels
from pdc_core.errors import PDCError
from pdc_core.fold.rewrite import rewrite
from pdc_core.graph import ChannelGraph, Layer
from pdc_core.graph.tensors import input_axis, output_axes
from pdc_core.reconstruct import tie


@dataclass(frozen=True, eq=False)
class Folding:
    """What a fold did, attached to the folded network as `folds`: enough for `load` to narrow it again."""

    residual: str
    input_shape: tuple[int, ...]
    labels: Labels


def fold(model: nn.Module, graph: ChannelGraph, labels: Mapping[str, IntArray]) -> nn.Module:
    """Return the network with every cluster of tied filters folded into one: the same function, exactly.

    Keep the first filter of each cluster; every reader's input kernels are summed over the cluster, V' = V M.

    Parameters
    ----------
    model : a network whose clusters are tied (the last thing done to it was `reconstruct_` at strength 1). Not changed.
    graph : its trace.
    labels : {group name: int array (n,)}; groups that are absent keep all their filters.

    Returns
    -------
    A new module. It has the class of `model` where the forward pass can stay as it is, else it is a
    torch.fx.GraphModule (literal sizes changed, or index expansions added under `gather`).

    Raises
    ------
    PDCError
        Filters of one cluster are not tied, or the labels do not fit the graph.

    Source: channel addition (PDC, doi 10.1016/j.imavis.2023.104743; C-SGD, arXiv 1904.03837).

    Examples
    --------
    >>> import torch, pdc_core as pdc
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3)).eval()
    >>> graph = pdc.trace(net, torch.zeros(1, 1, 8, 8))
    >>> labels = {"0": np.array([0, 1, 0, 1])}
    >>> small = pdc.fold(pdc.reconstruct_(net, graph, labels), graph, labels)
    >>> small[0].out_channels, pdc.check_equal(net, small, torch.ones(1, 1, 8, 8)).equal
    (2, True)
    """
    checked = check_labels(graph, labels)
    _check_tied(model, graph, checked)
    small = narrow_(_copy(model), graph, checked)
    small.folds = (*getattr(model, "folds", ()), Folding(graph.residual, graph.input_shape, checked))  # type: ignore[assignment]
    if hasattr(model, "card"):
        small.card = model.card
    return small


@torch.no_grad()
def _check_tied(model: nn.Module, graph: ChannelGraph, labels: Labels) -> None:
    for each in tie(model, graph, labels):
        t = each.pack()
        first = np.unique(each.a.cpu().numpy(), return_index=True)[1]
        away = (t - t[torch.from_numpy(first).to(t.device)][each.a]).abs().amax(dim=0)
        allowed = 8 * torch.finfo(t.dtype).eps * t.abs().amax(dim=0)
        if not (away <= allowed).all():  # also true where something is not finite
            raise PDCError(
                f"Filters of group {each.group.name!r} that share a cluster are not identical (they differ by up to "
                f"{float(away.max()):.1e}), so folding them would change the network; run "
                "reconstruct_(model, graph, labels, strength=1.0) as the last step before fold."
            )


def _copy(model: nn.Module) -> nn.Module:
    """Return a deep copy whose parameters are free of gradients and of the autograd graph."""
    grads = [(p, p.grad) for p in model.parameters() if p.grad is not None]
    for p, _ in grads:
        p.grad = None
    try:
        return copy.deepcopy(model)
    finally:
        for p, grad in grads:
            p.grad = grad


@dataclass(frozen=True)
class Kept:
    """Which ids of the program stay, and which one stands for each: `keeps[class]`, `stands_for[class]`."""

    keeps: np.ndarray
    stands_for: np.ndarray


def _kept(graph: ChannelGraph, labels: Labels) -> Kept:
    program = graph.program
    count = len(program.group)
    keeps, stands_for = np.ones(count, dtype=bool), np.arange(count)
    for g, group in enumerate(graph.groups):
        if group.name not in labels:
            continue
        a = labels[group.name]
        members = np.flatnonzero(program.group == g)
        members = members[np.argsort(program.position[members])]
        first = np.unique(a, return_index=True)[1]
        stands_for[members] = members[first[a]]
        keeps[members] = stands_for[members] == members
    return Kept(keeps, stands_for)


@torch.no_grad()
def narrow_(model: nn.Module, graph: ChannelGraph, labels: Labels) -> nn.Module:
    """Fold in place, without checking that filters are tied; return the network, or its rewritten program.

    Labels must be canonical (`check_labels`). Works on the meta device.
    """
    merged = {name: a for name, a in labels.items() if a.max() + 1 < len(a)}
    groups = [g for g in graph.groups if g.name in merged]
    gone: dict[str, list[IntArray]] = {}
    for group in groups:
        a = merged[group.name]
        first = np.unique(a, return_index=True)[1]
        leaves = np.setdiff1d(np.arange(group.size), first)
        for part in (*group.producers, *group.norms):
            gone.setdefault(part.module, []).append(part.channels[leaves])
    layers = {layer.name: layer for layer in graph.layers}
    for reader in {r.module for g in groups for r in g.readers}:
        target = np.arange(layers[reader].in_channels)  # input position -> the position that takes it over
        for group in groups:
            for part in group.readers:
                if part.module == reader:
                    first = np.unique(merged[group.name], return_index=True)[1]
                    target[part.channels] = part.channels[first[merged[group.name]]]
        _add_inputs_(model.get_submodule(reader), target)
    for name, channels in gone.items():
        module = model.get_submodule(name)
        _drop_outputs_(module, np.unique(np.concatenate(channels)), layers.get(name))
    return rewrite(model, graph, _kept(graph, merged))


def _add_inputs_(module: nn.Module, target: IntArray) -> None:
    """V' = V M: add up the kernels of merged input positions and drop the positions that were taken over."""
    weight = module.weight
    assert isinstance(weight, nn.Parameter)
    axis, groups = input_axis(module), getattr(module, "groups", 1)
    stay = np.unique(target)
    place = np.searchsorted(stay, target)  # input position -> its place among those that stay
    if groups == 1 or len(stay) == len(target):
        v = weight.detach()
        shape = list(v.shape)
        shape[axis] = len(stay)
        added = v.new_zeros(shape).index_add_(axis, torch.as_tensor(place, device=v.device), v)
    else:  # each group of a grouped convolution reads its own inputs, and every block kept equally many
        per, kept = len(target) // groups, len(stay) // groups
        parts = []
        for g, v in enumerate(weight.detach().chunk(groups, dim=0)):
            own = torch.as_tensor(place[g * per : (g + 1) * per] - g * kept, device=v.device)
            parts.append(v.new_zeros(v.shape[0], kept, *v.shape[2:]).index_add_(1, own, v))
        added = torch.cat(parts)
    module.weight = nn.Parameter(added, requires_grad=weight.requires_grad)
    if isinstance(module, nn.Linear):
        module.in_features = len(stay)
    else:
        module.in_channels = len(stay)  # type: ignore[assignment]


def _drop_outputs_(module: nn.Module, leaves: IntArray, layer: Layer | None) -> None:
    """Drop some output channels of a layer, or some channels of a norm."""
    stay = np.zeros(0, dtype=np.int64)
    for name, axis in output_axes(module).items():
        old = getattr(module, name)
        stay = np.setdiff1d(np.arange(old.shape[axis]), leaves)
        new = old.detach().index_select(axis, torch.as_tensor(stay, device=old.device))
        if isinstance(old, nn.Parameter):
            setattr(module, name, nn.Parameter(new, requires_grad=old.requires_grad))
        else:
            setattr(module, name, new)
    if isinstance(module, nn.Linear):
        module.out_features = len(stay)
    elif isinstance(module, _ConvNd):
        if layer is not None and layer.depthwise:
            module.groups = module.in_channels = len(stay)
        module.out_channels = len(stay)
    elif isinstance(module, _BatchNorm | _InstanceNorm):
        module.num_features = len(stay)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(stay)
