"""Channel addition on a whole network: which channels stay, what every layer becomes, how the forward pass changes.

`narrow_` does the work on modules and never looks at values beyond adding them, so it needs no trained weights: that is
how `load` rebuilds a folded architecture before its weights arrive.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pdc_core.cluster import IntArray, Labels, check_labels
from pdc_core.errors import PDCError
from pdc_core.fold.rewrite import rewrite
from pdc_core.graph import ChannelGraph, Layer
from pdc_core.graph.tensors import channel_tensors, input_axis, output_axes


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
    merged = _merged(checked)
    small = narrow_(_copy(model, graph, merged), graph, merged)
    small.folds = (*getattr(model, "folds", ()), Folding(graph.residual, graph.input_shape, checked))  # type: ignore[assignment]
    if hasattr(model, "card"):
        small.card = model.card
    return small


def _merged(labels: Labels) -> Labels:
    """Return the labels of those groups where any two filters share a cluster."""
    return {name: a for name, a in labels.items() if a.max() + 1 < len(a)}


def _firsts(a: IntArray) -> IntArray:
    """Return the first member of every cluster: the filter that stays for it."""
    return np.unique(a, return_index=True)[1]


@torch.no_grad()
def _check_tied(model: nn.Module, graph: ChannelGraph, labels: Labels) -> None:
    """Compare every filter that would leave with the one that stays for it, in all that they compute with."""
    for name, a in _merged(labels).items():
        group, stays = graph.group(name), _firsts(a)[a]
        leaves = np.flatnonzero(stays != np.arange(len(a)))
        for t in channel_tensors(model, group):
            index = [torch.as_tensor(t.channels[rows], device=t.tensor.device) for rows in (leaves, stays[leaves])]
            one, other = (t.tensor.index_select(t.axis, i) for i in index)
            away = float((one - other).abs_().amax())
            if not away <= 8 * torch.finfo(one.dtype).eps * float(one.abs_().amax()):  # also where one is not finite
                raise PDCError(
                    f"Filters of group {name!r} that share a cluster are not identical (they differ by up to "
                    f"{away:.1e}), so folding them would change the network; run "
                    "reconstruct_(model, graph, labels, strength=1.0) as the last step before fold."
                )


def _copy(model: nn.Module, graph: ChannelGraph, merged: Labels) -> nn.Module:
    """Return a deep copy, without copying the tensors that `narrow_` is going to replace."""
    shared: dict[int, object] = {}
    owners = Counter(id(t) for _, t in model.named_parameters(remove_duplicate=False))
    for group in (graph.group(name) for name in merged):
        for part in (*group.producers, *group.norms):
            module = model.get_submodule(part.module)
            shared |= {id(t): t for t in (getattr(module, name) for name in output_axes(module))}
        for part in group.readers:
            weight = model.get_submodule(part.module).weight
            shared[id(weight)] = weight
    return copy.deepcopy(model, {key: t for key, t in shared.items() if owners[key] <= 1})


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
        stands_for[members] = members[_firsts(a)[a]]
        keeps[members] = stands_for[members] == members
    return Kept(keeps, stands_for)


@torch.no_grad()
def narrow_(model: nn.Module, graph: ChannelGraph, labels: Labels) -> nn.Module:
    """Fold in place, without checking that filters are tied; return the network, or its rewritten program.

    Labels must be canonical (`check_labels`). Tensors of the network are replaced, never written to.
    """
    merged = _merged(labels)
    groups = [g for g in graph.groups if g.name in merged]
    layers = {layer.name: layer for layer in graph.layers}
    leaves: dict[str, list[IntArray]] = {}  # module -> output channels that leave
    takes_over: dict[str, IntArray] = {}  # reader -> for every input position the one that takes it over
    for group in groups:
        stays = _firsts(merged[group.name])[merged[group.name]]
        gone = np.flatnonzero(stays != np.arange(group.size))
        for part in (*group.producers, *group.norms):
            leaves.setdefault(part.module, []).append(part.channels[gone])
        for part in group.readers:
            target = takes_over.setdefault(part.module, np.arange(layers[part.module].in_channels))
            target[part.channels] = part.channels[stays]
    for name, channels in leaves.items():
        _drop_outputs_(model.get_submodule(name), np.concatenate(channels), layers.get(name))
    for name, target in takes_over.items():
        _add_inputs_(model.get_submodule(name), target)
    return rewrite(model, graph, _kept(graph, merged))


def _add_inputs_(module: nn.Module, target: IntArray) -> None:
    """V' = V M: add up the kernels of merged input positions and drop the positions that were taken over."""
    weight = module.weight
    assert isinstance(weight, nn.Parameter)
    v, groups = weight.detach(), getattr(module, "groups", 1)
    stay = np.unique(target)
    if groups == 1:
        added = _added(v, target, input_axis(module))
    else:  # each group of a grouped convolution reads its own inputs, and every block kept equally many
        per = len(target) // groups
        own = [target[g * per : (g + 1) * per] - g * per for g in range(groups)]
        added = torch.cat([_added(part, own[g], 1) for g, part in enumerate(v.chunk(groups))])
    module.weight = nn.Parameter(added, requires_grad=weight.requires_grad)
    if isinstance(module, nn.Linear):
        module.in_features = len(stay)
    else:
        module.in_channels = len(stay)  # type: ignore[assignment]


def _added(v: Tensor, target: IntArray, axis: int) -> Tensor:
    """Return v with its entries along `axis` added up: entry i goes to where target[i] stays."""
    stay, leave = np.unique(target), np.flatnonzero(target != np.arange(len(target)))
    place = torch.as_tensor(np.searchsorted(stay, target[leave]), device=v.device)
    first = v.movedim(axis, 0)  # rows lie together in memory once selected, so that adding them is fast
    kept = first.index_select(0, torch.as_tensor(stay, device=v.device))
    kept.index_add_(0, place, first.index_select(0, torch.as_tensor(leave, device=v.device)))
    return kept.movedim(0, axis).contiguous()


def _drop_outputs_(module: nn.Module, leaves: IntArray, layer: Layer | None) -> None:
    """Drop some output channels of a layer, or some channels of a norm."""
    width = next(
        name for name in ("out_features", "out_channels", "num_features", "num_parameters") if hasattr(module, name)
    )
    stay = np.setdiff1d(np.arange(getattr(module, width)), leaves)
    for name, axis in output_axes(module).items():
        old = getattr(module, name)
        new = old.detach().index_select(axis, torch.as_tensor(stay, device=old.device))
        setattr(module, name, nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new)
    setattr(module, width, len(stay))
    if layer is not None and layer.depthwise:
        module.groups = module.in_channels = len(stay)  # type: ignore[assignment]
