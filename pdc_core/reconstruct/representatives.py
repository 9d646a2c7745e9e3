"""Merging with little loss: one filter stands for those that join it, and the readers are refitted to those that stay.

The clusters stay as they are, tied and folded exactly. Only the readers' columns change: channel addition alone would
leave them at the sum over the cluster; here they are solved to recover best what the readers received before.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from pdc_core.clustering import FloatArray, IntArray, ReaderCovariances, canonical
from pdc_core.clustering.algorithms import assign_to_representatives, elimination_order
from pdc_core.clustering.labels import cluster_count
from pdc_core.clustering.vectors import filter_vectors, reader_kernels
from pdc_core.graph import ChannelGroup
from pdc_core.graph.narrowing import first_members
from pdc_core.graph.tensors import channel_tensors, input_axis, layer_of
from pdc_core.reconstruct.projection import GroupProjection


def least_squares_readers(c: Tensor, stays: Tensor) -> Tensor:
    """Return R that minimises E||x - R x_S||^2: R = C_(:,S) C_(S,S)^-1.

    Parameters
    ----------
    c : Tensor, shape (n, n), float64
        Covariance of the channels.
    stays : Tensor of int64, shape (k,)
        The channels S that stay.

    Returns
    -------
    Tensor, shape (n, k), float64
        R. Readers become V' = V R, which is V M if the channels of a cluster are equal. A ridge of 1e-8 of the mean
        variance keeps R finite if channels are silent; if all are, R selects S.

    Examples
    --------
    >>> c = torch.tensor([[1.0, 2.0], [2.0, 4.0]], dtype=torch.float64)  # the second is twice the first
    >>> least_squares_readers(c, torch.tensor([0])).round(decimals=3).tolist()
    [[1.0], [2.0]]
    """
    if c.diagonal().mean() < 1e-200:  # every channel is constant, so no R is better than another
        return torch.eye(len(c), dtype=c.dtype)[:, stays]
    own = c[stays][:, stays]
    ridge = 1e-8 * c.diagonal().mean().clamp(min=torch.finfo(c.dtype).tiny)
    return torch.linalg.solve(own + ridge * torch.eye(len(stays), dtype=c.dtype), c[stays]).T


@torch.no_grad()
def merge_filters_(
    model: nn.Module,
    group: ChannelGroup,
    moment: ReaderCovariances,
    labels: IntArray,
    k: int,
    now: IntArray | None = None,
) -> tuple[IntArray, IntArray]:
    """Merge a group's filters down to k within their clusters, and refit the readers to those that stay. In place.

    Filters are removed one by one, first those that the others replace best (`elimination_order`). The tensors of each
    become those of the filter that it joins, and readers V become V' = V R, shared equally over a cluster's columns.

    Parameters
    ----------
    model : nn.Module
        The network, changed in place; if `now` is given, filters that share a cluster of it are tied.
    group : ChannelGroup
        The group, of n filters.
    moment : ReaderCovariances
        The group's channels measured on that network.
    labels : array of int, shape (n,)
        The final clusters; filters merge only within them.
    k : int
        Different filters to leave, from the number of clusters of `labels` to n; in a group with blocks, a multiple of
        their number, and every block keeps equally many.
    now : array of int, shape (n,), optional
        Clusters that are tied already, within those of `labels`; by default every filter is alone.

    Returns
    -------
    labels_now : array of int64, shape (n,)
        The clusters that are tied now, canonical.
    representatives : array of int64, shape (k,)
        The filter that stands for each of them.

    Source: our choice. Least-squares readers after channel selection: He et al., arXiv 1707.06168.
    """
    now = np.arange(group.size) if now is None else canonical(now)
    first = first_members(now)  # one filter of every tied cluster speaks for it
    v = np.zeros((len(first), reader_kernels(model, group).shape[1]))
    np.add.at(v, now, reader_kernels(model, group))
    c = [each[first][:, first] for each in moment.covariances]
    stays = _stays(c[0].numpy(), v @ v.T, labels[first], group.block[first], k)
    joins = assign_to_representatives(c[0].numpy(), stays, labels[first])
    for part, own in zip(group.readers, c, strict=True):
        solution = _within_blocks(own, stays, group.block[first])
        _solve_reader_(layer_of(model, part), part.channels, now, joins[now], solution)
    merged = joins[now]
    copy_filters_(model, group, first[stays][merged])
    labels_now = canonical(merged)
    order = np.argsort(labels_now[first[stays]])
    return labels_now, first[stays][order]


@torch.no_grad()
def average_filters_(
    model: nn.Module, group: ChannelGroup, labels: IntArray, k: int, now: IntArray | None = None
) -> IntArray:
    """Merge a group's filters down to k within their clusters where no reader can be refitted. In place.

    Such groups are those of treatment "gather" whose channels are copied to their places in a sum. The filters that
    stay are chosen by their weights; the others join the nearest in their cluster, and all become their mean.

    Parameters
    ----------
    model : nn.Module
        The network, changed in place; if `now` is given, filters that share a cluster of it are tied.
    group : ChannelGroup
        The group, of n filters.
    labels : array of int, shape (n,)
        The final clusters; filters merge only within them.
    k : int
        Different filters to leave, as for `merge_filters_`.
    now : array of int, shape (n,), optional
        Clusters that are tied already, within those of `labels`; by default every filter is alone.

    Returns
    -------
    array of int64, shape (n,)
        The clusters that are tied now, canonical.

    Source: our choice.
    """
    now = np.arange(group.size) if now is None else canonical(now)
    first = first_members(now)
    w = filter_vectors(model, group)[first]
    c, own = w @ w.T, labels[first]
    stays = _stays(c, np.eye(len(first)), own, group.block[first], k)
    far = np.diag(c)[:, None] - 2 * c[:, stays] + np.diag(c)[stays]
    joins = np.where(own[:, None] == own[stays], far, np.inf).argmin(axis=1)
    joins[stays] = np.arange(len(stays))
    labels_now = canonical(joins[now])
    GroupProjection(model, group, labels_now).apply_(1.0)
    return labels_now


def merge_group_(
    model: nn.Module,
    group: ChannelGroup,
    moment: ReaderCovariances | None,
    labels: IntArray,
    k: int,
    now: IntArray | None = None,
) -> IntArray:
    """Merge a group's filters as a training does: by what its readers receive, or by its weights where none does.

    Parameters
    ----------
    model : nn.Module
        The network, changed in place.
    group : ChannelGroup
        The group, of n filters.
    moment : ReaderCovariances or None
        The group's channels measured on that network; None where nothing reads them.
    labels : array of int, shape (n,)
        The final clusters; filters merge only within them.
    k : int
        Different filters to leave, as for `merge_filters_`.
    now : array of int, shape (n,), optional
        Clusters that are tied already, within those of `labels`; by default every filter is alone.

    Returns
    -------
    array of int64, shape (n,)
        The clusters that are tied now, canonical.
    """
    if moment is None:
        return average_filters_(model, group, labels, k, now)
    return merge_filters_(model, group, moment, labels, k, now)[0]


def _stays(c: FloatArray, h: FloatArray, a: IntArray, block: IntArray, k: int) -> IntArray:
    """Return the filters that stay, as many in every block."""
    blocks = cluster_count(block)
    stays = []
    for b in range(blocks):
        own = np.flatnonzero(block == b)
        gone = elimination_order(c[np.ix_(own, own)], h[np.ix_(own, own)], len(own) - k // blocks, canonical(a[own]))
        stays.append(np.setdiff1d(own, own[gone]))
    return np.concatenate(stays)


def _within_blocks(c: Tensor, stays: IntArray, block: IntArray) -> Tensor:
    """Return R where channels of a block are recovered from those of the same block alone."""
    same = torch.from_numpy(block[:, None] == block)
    return least_squares_readers(torch.where(same, c, torch.zeros_like(c)), torch.from_numpy(stays))


def _solve_reader_(module: nn.Module, channels: IntArray, now: IntArray, merged: IntArray, solution: Tensor) -> None:
    """V <- V' = (V M) R, every column of a cluster an equal share of its own.

    Parameters
    ----------
    channels : array of int, shape (n,) or (n, m)
        Input positions of each channel.
    now, merged : array of int, shape (n,)
        Labels before and after.
    solution : Tensor, shape (clusters before, clusters after)
        R.
    """
    weight = module.weight
    assert isinstance(weight, Tensor)
    share = torch.from_numpy(np.eye(len(solution))[now]) @ solution  # M R, (n, k)
    spread = torch.from_numpy(np.eye(solution.shape[1])[merged] / np.bincount(merged)[merged][:, None]).T  # (k, n)
    mix = (share @ spread).to(device=weight.device)  # (n, n): V <- V mix
    flat = channels.reshape(len(channels), -1)
    groups = getattr(module, "groups", 1)
    per = weight.shape[1] if input_axis(module) and groups > 1 else None
    for m in range(flat.shape[1]):
        position = torch.from_numpy(flat[:, m])
        if per is None:
            axis = input_axis(module)
            columns = weight.index_select(axis, position.to(weight.device)).movedim(axis, -1).double()
            weight.index_copy_(axis, position.to(weight.device), (columns @ mix).movedim(-1, axis).to(weight))
            continue
        rows = weight.shape[0] // groups
        for g in range(groups):  # each group of a grouped convolution reads its own inputs
            inside = torch.nonzero(position // per == g).flatten()
            if len(inside):
                kernels, at = weight[g * rows : (g + 1) * rows], (position[inside] % per).to(weight.device)
                columns = kernels.index_select(1, at).movedim(1, -1).double()
                own = mix[inside][:, inside]
                kernels.index_copy_(1, at, (columns @ own).movedim(-1, 1).to(weight))


@torch.no_grad()
def copy_filters_(model: nn.Module, group: ChannelGroup, source: IntArray) -> None:
    """Make channel i of a group a copy of channel source[i], in every tensor that it computes with. In place.

    Parameters
    ----------
    model : nn.Module
        The network, changed in place.
    group : ChannelGroup
        The group, of n filters.
    source : array of int, shape (n,)
        Channels of the group, 0 to n - 1.
    """
    for t in channel_tensors(model, group):
        rows = t.tensor.index_select(t.axis, torch.from_numpy(t.channels[source]).to(t.tensor.device))
        t.tensor.index_copy_(t.axis, torch.from_numpy(t.channels).to(t.tensor.device), rows)
