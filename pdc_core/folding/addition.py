"""Channel addition on a whole network: which channels stay, what every layer becomes, how the forward pass changes.

`fold_unchecked_` changes modules and never looks at values beyond adding them, so it needs no trained weights: that
is how `load` rebuilds a folded architecture before its weights arrive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pdc_core.clustering import IntArray, Labels, check_labels
from pdc_core.clustering.labels import merged_groups
from pdc_core.errors import PDCError
from pdc_core.folding.copying import copy_network
from pdc_core.folding.rewrite import rewrite
from pdc_core.graph import ChannelGraph, Slice
from pdc_core.graph.narrowing import first_members, survivors_of
from pdc_core.graph.tensors import ChannelTensor, channel_tensors, input_axis, layer_of, output_axes, owners


@dataclass(frozen=True, eq=False)
class Folding:
    """What a fold did, attached to the folded network as `folds`: enough for `load` to narrow it again.

    Attributes
    ----------
    residual : {"internal", "shared", "gather"}
        The residual treatment of the trace.
    input_shape : tuple of int
        (c, h, w) of the example.
    labels : dict of str to int array
        The clusters, group by group.
    inside : str
        The submodule that was folded; empty for the whole network.
    """

    residual: str
    input_shape: tuple[int, ...]
    labels: Labels
    inside: str = ""


def fold(model: nn.Module, graph: ChannelGraph, labels: Mapping[str, IntArray]) -> nn.Module:
    """Return the network with every cluster of tied filters folded into one: the same function, exactly.

    Keep the first filter of each cluster; every reader's input kernels are summed over the cluster, V' = V M.

    Parameters
    ----------
    model : nn.Module
        A network whose clusters are tied (the last thing done to it was `reconstruct_` at strength 1). Not changed.
    graph : ChannelGraph
        Its trace.
    labels : dict of str to int array, shape (n,)
        The cluster of every filter, group by group; groups that are absent keep all their filters.

    Returns
    -------
    nn.Module
        A new module. It has the class of `model` where the forward pass can stay as it is, else it is a
        torch.fx.GraphModule (literal sizes changed, or index expansions added under `gather`). With a graph of one
        submodule, the whole network with that submodule replaced.

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
    return fold_unchecked_(copy_network(model, map(graph.group, merged_groups(checked))), graph, checked)


@torch.no_grad()
def _check_tied(model: nn.Module, graph: ChannelGraph, labels: Labels) -> None:
    """Compare every filter that would leave with the one that stays for it, in all that they compute with."""
    for name, a in merged_groups(labels).items():
        group, stays = graph.group(name), first_members(a)[a]
        leaves = np.flatnonzero(stays != np.arange(len(a)))
        parts: dict[int, list[ChannelTensor]] = {}
        for t in channel_tensors(model, group):
            parts.setdefault(id(t.channels), []).append(t)
        for tensors in parts.values():
            channels, device = tensors[0].channels, tensors[0].tensor.device
            one, other = (torch.from_numpy(channels[rows]).to(device) for rows in (leaves, stays[leaves]))
            if not all(_same(t, axis, one, other) for t, axis in _stacked(tensors)):
                for t in tensors:
                    _check_close(name, t, one, other)


def _stacked(tensors: list[ChannelTensor]) -> list[tuple[Tensor, int]]:
    """Return (tensor, axis of its channels); gamma, beta, mu and var of a norm stand together in one."""
    if len(tensors) > 1 and all(t.tensor.dim() == 1 and t.tensor.dtype == tensors[0].tensor.dtype for t in tensors):
        return [(torch.stack([t.tensor for t in tensors]), 1)]
    return [(t.tensor, t.axis) for t in tensors]


def _same(t: Tensor, axis: int, i: Tensor, j: Tensor) -> bool:
    """Return whether entries i and j along `axis` are the same to the last bit."""
    step = _rows_at_once(t.numel() // t.shape[axis])  # a piece at a time stays in the processor's cache
    pieces = ((i[at : at + step], j[at : at + step]) for at in range(0, len(i), step))
    return all(torch.equal(t.index_select(axis, one), t.index_select(axis, other)) for one, other in pieces)


def _check_close(group: str, t: ChannelTensor, i: Tensor, j: Tensor) -> None:
    """Raise unless channels i and j are the same up to the last bits, which another device may round differently."""
    one, other = (t.tensor.index_select(t.axis, index) for index in (i, j))
    away = float((one - other).abs_().amax())
    if not away <= 8 * torch.finfo(one.dtype).eps * float(one.abs_().amax()):  # also where one is not finite
        raise PDCError(
            f"Filters of group {group!r} that share a cluster are not identical (they differ by up to "
            f"{away:.1e}), so folding them would change the network; run "
            "reconstruct_(model, graph, labels, strength=1.0) as the last step before fold."
        )


def _rows_at_once(width: int) -> int:
    """Return how many rows of `width` numbers make a piece of about 1 MiB."""
    return max(1, 2**18 // width)


@torch.no_grad()
def fold_unchecked_(model: nn.Module, graph: ChannelGraph, labels: Labels) -> nn.Module:
    """Fold in place, without checking that filters are tied; return the network, or its rewritten program.

    Tensors of the network are replaced, never written to. What comes back knows how it was folded (`folds`), which
    `save` needs, and keeps its `card`.

    Parameters
    ----------
    model : Module
        The network; replaced layer by layer.
    graph : ChannelGraph
        Its trace.
    labels : dict of str to array of int, shape (n,)
        Canonical labels (`check_labels`) by group; groups that are absent keep all their filters.
    """
    merged = merged_groups(labels)
    layers = {layer.name: layer for layer in graph.layers}
    leaves: dict[str, list[IntArray]] = {}  # module -> output channels that leave
    parts: dict[str, Slice] = {}  # module -> a part of it, which says where its tensors are
    takes_over: dict[str, IntArray] = {}  # reader -> for every input position the one that takes it over
    for group in (g for g in graph.groups if g.name in merged):
        stays = first_members(merged[group.name])[merged[group.name]]
        gone = np.flatnonzero(stays != np.arange(group.size))
        for part in (*group.producers, *group.norms):
            leaves.setdefault(part.module, []).append(part.channels[gone])
            parts[part.module] = part
        for part in group.readers:
            target = takes_over.setdefault(part.module, np.arange(layers[part.module].in_channels))
            target[part.channels] = part.channels[stays]
            parts[part.module] = part
    for name, part in parts.items():
        gone = np.concatenate(leaves.get(name, [np.zeros(0, np.int64)]))
        _narrow_layer_(model, part, gone, takes_over.get(name))
    small = rewrite(model.get_submodule(graph.inside), graph, survivors_of(graph.program, graph.groups, merged))
    if graph.inside:
        parent, _, name = graph.inside.rpartition(".")
        model.get_submodule(parent).add_module(name, small)
        small = model
    folding = Folding(graph.residual, graph.input_shape, labels, graph.inside)
    small.folds = (*getattr(model, "folds", ()), folding)  # type: ignore[assignment]
    if hasattr(model, "card"):
        small.card = model.card
    return small


_WIDTHS = ("out_features", "out_channels", "num_features", "num_parameters")


def _narrow_layer_(model: nn.Module, part: Slice, leaves: IntArray, target: IntArray | None) -> None:
    """Drop output channels of a layer or channels of a norm, and add up the inputs that a layer reads.

    target[i] is the input position that takes over position i, None where no input changes. Tensors are replaced in
    the modules that hold them; numbers there that were the old width become the new one.
    """
    module = layer_of(model, part)
    held = owners(model, part)
    if not held:
        return
    before, after = _narrow_module_(module, leaves, target)
    if part.tensors is None:
        return
    for role, (owner, name) in held.items():
        table = owner._parameters if isinstance(getattr(owner, name), nn.Parameter) else owner._buffers
        table[name] = getattr(module, role)
    for owner in {id(owner): owner for owner, _ in held.values()}.values():
        for old, new, names in zip(before, after, (_OUT, _IN, ("groups", *_OUT)), strict=True):
            for name in names:
                if old != new and owner.__dict__.get(name) == old:
                    setattr(owner, name, new)


_OUT = (*_WIDTHS, "channels", "num_channels", "dim")
_IN = ("in_features", "in_channels")


def _narrow_module_(
    module: nn.Module, leaves: IntArray, target: IntArray | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Narrow one module of torch's; return its widths (out, in, groups) before and after."""
    width = next((name for name in _WIDTHS if name in module.__dict__), "")
    axes = output_axes(module)
    out = getattr(module, width) if width else getattr(module, next(iter(axes))).shape[next(iter(axes.values()))]
    stay = np.delete(np.arange(out), leaves)
    groups = getattr(module, "groups", 1)
    into = "in_features" if isinstance(module, nn.Linear) else "in_channels"
    before = out, getattr(module, into, 0), groups
    if groups > 1 and groups == module.in_channels == module.out_channels:  # depthwise
        module.groups = module.in_channels = len(stay)  # type: ignore[assignment]
    for name, axis in axes.items():
        old = getattr(module, name)
        if name == "weight" and target is not None:
            new = _added(old.detach(), stay, target, axis, groups)
            setattr(module, into, new.shape[input_axis(module)] * groups)
        else:
            new = old.detach().index_select(axis, torch.from_numpy(stay).to(old.device))
        if isinstance(old, nn.Parameter):
            module._parameters[name] = nn.Parameter(new, old.requires_grad)
        else:
            module._buffers[name] = new
    if width:
        setattr(module, width, len(stay))
    return before, (len(stay), getattr(module, into, 0), getattr(module, "groups", 1))


def _added(v: Tensor, rows: IntArray, target: IntArray, axis: int, groups: int = 1) -> Tensor:
    """V' = V M: keep some output channels (along `axis`), add up the kernels of the input positions that are merged.

    A grouped convolution reads its own inputs in every group, and every block kept equally many of them.
    """
    per, heights = len(target) // groups, v.shape[axis] // groups
    parts = []
    for g in range(groups):
        own = rows[(rows >= g * heights) & (rows < (g + 1) * heights)]
        parts.append(_add_columns(v.movedim(axis, 0), own, target[g * per : (g + 1) * per] - g * per))
    return (parts[0] if groups == 1 else torch.cat(parts)).movedim(0, axis).contiguous()


def _add_columns(v: Tensor, rows: IntArray, target: IntArray) -> Tensor:
    """Return the sum over each cluster's columns, for some rows of v (out, in, ...): (len(rows), k, ...).

    Clusters are taken from the largest to the smallest, so that round r adds the r-th member of the first few.
    """
    stay, cluster, sizes = np.unique(target, return_inverse=True, return_counts=True)
    by_size = np.argsort(-sizes, kind="stable")
    by_cluster = np.argsort(cluster, kind="stable")
    starts = np.cumsum(sizes) - sizes
    rounds = [torch.from_numpy(stay[by_size]).to(v.device)]  # the column that stays, then the others in order
    others = by_cluster[by_cluster != stay[cluster[by_cluster]]]
    starts = starts - np.arange(len(stay))
    for r in range(int(sizes.max()) - 1):
        of = by_size[sizes[by_size] > r + 1]
        rounds.append(torch.from_numpy(others[starts[of] + r]).to(v.device))
    index = torch.from_numpy(rows).to(v.device)
    sums = v.new_empty(len(rows), len(stay), *v.shape[2:])
    step = _rows_at_once(v[0].numel())
    for i in range(0, len(rows), step):  # a piece at a time stays in the processor's cache
        piece, out = v.index_select(0, index[i : i + step]), sums[i : i + step]
        torch.index_select(piece, 1, rounds[0], out=out)
        for columns in rounds[1:]:
            out[:, : len(columns)] += piece.index_select(1, columns)
    ordered = np.array_equal(by_size, np.arange(len(stay)))
    return sums if ordered else sums.index_select(1, torch.from_numpy(np.argsort(by_size)).to(v.device))
