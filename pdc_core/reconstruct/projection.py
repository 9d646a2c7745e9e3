"""The projection: t <- (1-s) t + s P t for every tensor of a group, with P = M (M^T D M)^-1 M^T D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from pdc_core.clustering import IntArray, check_labels
from pdc_core.clustering.labels import cluster_count, merged_groups
from pdc_core.clustering.spread import centroids
from pdc_core.errors import PDCError
from pdc_core.graph import ChannelGraph, ChannelGroup
from pdc_core.graph.tensors import ChannelTensor, channel_tensors

Weights = Literal["norm", "uniform", "medoid"]
HALF = (torch.float16, torch.bfloat16)


def medoids(t: Tensor, a: Tensor, k: int, d: Tensor) -> Tensor:
    """Return a D by which one filter per cluster counts: 1 for the medoid of every cluster, 0 for its other members.

    The medoid minimises sum_j d_j ||t_i - t_j||^2 over its cluster; equivalently, it is the member nearest to the
    weighted mean. Among equals the first one counts.

    Parameters
    ----------
    t : Tensor, shape (n, m)
        One row per channel.
    a : Tensor of int64, shape (n,)
        Labels 0..k-1; no cluster is empty.
    k : int
        Number of clusters.
    d : Tensor, shape (n,)
        Diagonal of D, 0 or more; a cluster of total weight 0 counts as uniform.

    Returns
    -------
    Tensor, shape (n,)
        k ones, the rest zeros.

    Examples
    --------
    >>> t, a = torch.tensor([[0.0], [3.0], [4.0], [8.0]]), torch.tensor([0, 0, 0, 1])
    >>> medoids(t, a, 2, torch.ones(4)).tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    away = (t - centroids(t, a, k, d)[a]).square().sum(dim=1).nan_to_num(torch.inf)
    least = away.new_full((k,), torch.inf).scatter_reduce_(0, a, away, "amin")
    position = torch.arange(len(t), device=t.device)
    first = position.new_full((k,), len(t)).scatter_reduce_(0, a, position.where(away == least[a], len(t)), "amin")
    return torch.zeros_like(d).index_fill_(0, first, 1.0)


class GroupProjection:
    """One group's tensors bound to its labels: prepared once, so that every step of a run can reconstruct quickly.

    The rows of W, bias, gamma, beta, mu and var of every producer and norm stand side by side in one matrix (n, m), so
    that one projection ties them all.

    Parameters
    ----------
    model : nn.Module
        The network; `apply_` and `unpack_` change it.
    group : ChannelGroup
        The group, of n filters.
    labels : array of int, shape (n,)
        Labels 0..k-1; no cluster is empty.
    weights : {"norm", "uniform", "medoid"}, default "norm"
        D, see `reconstruct_`.

    Raises
    ------
    PDCError
        If `weights` is unknown.
    """

    def __init__(self, model: nn.Module, group: ChannelGroup, labels: IntArray, weights: Weights = "norm") -> None:
        if weights not in get_args(Weights):
            raise PDCError(
                f"weights={weights!r}: filters are weighted by 'norm' (their squared norms), 'uniform', or 'medoid' "
                "(only the one nearest to its cluster's mean counts)."
            )
        self.group, self.weights = group, weights
        self.tensors = channel_tensors(model, group)
        device = self.tensors[0].tensor.device
        self.a = torch.as_tensor(labels, device=device)
        self.k = cluster_count(labels)
        self.index = [_index(t) for t in self.tensors]
        ends = np.cumsum([t.width for t in self.tensors])
        self.filters = [slice(end - t.width, end) for t, end in zip(self.tensors, ends, strict=True) if t.is_filter]

    def extend(self, optimizer_slots: list[ChannelTensor]) -> None:
        """Tie further tensors of the same layout too, such as momentum; they do not count in D.

        Parameters
        ----------
        optimizer_slots : list of ChannelTensor
            Tensors with one row per channel of the group.
        """
        self.tensors += optimizer_slots
        self.index += [_index(t) for t in optimizer_slots]

    def pack(self) -> Tensor:
        """Return the group's tensors as one matrix (n, m), in single precision at least: means of halves drift."""
        rows = []
        for t, index in zip(self.tensors, self.index, strict=True):
            own = t.tensor if index is None else t.tensor.index_select(t.axis, index)
            rows.append(own.movedim(t.axis, 0).reshape(self.group.size, -1))
        matrix = torch.cat(rows, dim=1)
        return matrix.float() if matrix.dtype in HALF else matrix

    def unpack_(self, matrix: Tensor) -> None:
        """Write a matrix back into the tensors.

        Parameters
        ----------
        matrix : Tensor, shape (n, m)
            As `pack` returns it.
        """
        for t, index, columns in zip(
            self.tensors, self.index, matrix.split([t.width for t in self.tensors], dim=1), strict=True
        ):
            view = t.tensor.movedim(t.axis, 0)
            rows = columns.reshape(self.group.size, *view.shape[1:])
            if index is None:
                view.copy_(rows)
            else:
                view.index_copy_(0, index, rows.to(view.dtype))

    def d(self, matrix: Tensor) -> Tensor:
        """Return the diagonal of D: squared norms of the filters summed over producers, ones, or the medoids.

        Parameters
        ----------
        matrix : Tensor, shape (n, m)
            As `pack` returns it.

        Returns
        -------
        Tensor, shape (n,)
            0 or more.
        """
        if self.weights == "uniform":
            return matrix.new_ones(len(matrix))
        filters = torch.cat([matrix[:, columns] for columns in self.filters], dim=1)
        norms = filters.square().sum(dim=1)
        return medoids(filters, self.a, self.k, norms) if self.weights == "medoid" else norms

    def project(self, matrix: Tensor) -> Tensor:
        """Return P t: rows of one cluster are identical to the last bit.

        Parameters
        ----------
        matrix : Tensor, shape (n, m)
            t, as `pack` returns it.

        Returns
        -------
        Tensor, shape (n, m)
            P t.
        """
        return centroids(matrix, self.a, self.k, self.d(matrix))[self.a]

    @torch.no_grad()
    def apply_(self, strength: float) -> None:
        """Reconstruct the group in place, t <- (1-s) t + s P t.

        Parameters
        ----------
        strength : float
            s, 0 to 1.
        """
        t = self.pack()
        pt = self.project(t)
        self.unpack_(pt if strength >= 1 else torch.lerp(t, pt, strength))


def _index(t: ChannelTensor) -> Tensor | None:
    """Return the channels of a tensor that belong to the group, None for all of them in order."""
    whole = np.array_equal(t.channels, np.arange(t.tensor.shape[t.axis]))
    return None if whole else torch.as_tensor(t.channels, device=t.tensor.device)


def tie(
    model: nn.Module, graph: ChannelGraph, labels: Mapping[str, IntArray], weights: Weights = "norm"
) -> list[GroupProjection]:
    """Bind labels to a network, for many reconstructions in a row. Groups that merge nothing are left out.

    Parameters
    ----------
    model : nn.Module
        The network.
    graph : ChannelGraph
        Its trace.
    labels : mapping of str to array of int, shape (n,)
        By the name of the group.
    weights : {"norm", "uniform", "medoid"}, default "norm"
        D, see `reconstruct_`.

    Returns
    -------
    list of GroupProjection
        One per group.

    Raises
    ------
    PDCError
        If the labels do not fit the graph, or `weights` is unknown.
    """
    merged = merged_groups(check_labels(graph, labels))
    return [GroupProjection(model, graph.group(name), a, weights) for name, a in merged.items()]


def reconstruct_(
    model: nn.Module,
    graph: ChannelGraph,
    labels: Mapping[str, IntArray],
    strength: float = 1.0,
    weights: Weights = "norm",
) -> nn.Module:
    """Move every filter towards its cluster's centroid, in place: t <- (1-s) t + s P t.

    At strength 1 the filters of a cluster are identical to the last bit, in W, bias, gamma, beta, mu and var alike.

    Parameters
    ----------
    model : nn.Module
        The network; it is changed.
    graph : ChannelGraph
        Its trace.
    labels : mapping of str to array of int, shape (n,)
        By the name of the group; groups that are absent are left alone.
    strength : float, default 1.0
        s, 0 (nothing happens) to 1 (tied).
    weights : {"norm", "uniform", "medoid"}, default "norm"
        D: each filter's squared norm, summed over the group's producers; ones; or 1 for the filter nearest to its
        cluster's mean (weighted by norm), which the others then move to, and 0 for them.

    Returns
    -------
    nn.Module
        The same network.

    Raises
    ------
    PDCError
        If the labels do not fit the graph, the strength is outside [0, 1], or `weights` is unknown.

    Source: PDC's reconstruction (doi 10.1016/j.imavis.2023.104743, abstract); tying the norms and D are our choice.
    """
    if not 0 <= strength <= 1:
        raise PDCError(
            f"strength={strength}: allowed are 0 (nothing happens) to 1 (the filters of a cluster become identical)."
        )
    for each in tie(model, graph, labels, weights):
        each.apply_(strength)
    return model


def deviation(
    model: nn.Module, graph: ChannelGraph, labels: Mapping[str, IntArray], weights: Weights = "norm"
) -> float:
    """Return how far the filters are from their centroids: sqrt(sum ||w - Pw||^2 / sum ||w||^2).

    Parameters
    ----------
    model : nn.Module
        The network; it is not changed.
    graph : ChannelGraph
        Its trace.
    labels : mapping of str to array of int, shape (n,)
        By the name of the group.
    weights : {"norm", "uniform", "medoid"}, default "norm"
        D, see `reconstruct_`.

    Returns
    -------
    float
        0 when every cluster is tied, 1 when the centroids are all zero.

    Raises
    ------
    PDCError
        If the labels do not fit the graph, or `weights` is unknown.
    """
    return deviation_of_bound(tie(model, graph, labels, weights))


@torch.no_grad()
def deviation_of_bound(ties: list[GroupProjection]) -> float:
    """Return the `deviation` of groups that are bound to their labels already.

    Parameters
    ----------
    ties : list of GroupProjection
        As `tie` returns them.

    Returns
    -------
    float
        0 when every cluster is tied, 1 when the centroids are all zero.
    """
    away = total = 0.0
    for each in ties:
        t = each.pack()
        pt = each.project(t)
        for columns in each.filters:
            away += float((t[:, columns] - pt[:, columns]).square().sum())
            total += float(t[:, columns].square().sum())
    return (away / total) ** 0.5 if total > 0 else 0.0
