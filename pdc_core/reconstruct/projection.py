"""The projection: t <- (1-s) t + s P t for every tensor of a group, with P = M (M^T D M)^-1 M^T D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from pdc_core.clustering import IntArray, check_labels
from pdc_core.errors import PDCError
from pdc_core.graph import ChannelGraph, ChannelGroup
from pdc_core.graph.tensors import ChannelTensor, channel_tensors

Weights = Literal["norm", "uniform", "medoid"]
HALF = (torch.float16, torch.bfloat16)


def centroids(t: Tensor, a: Tensor, k: int, d: Tensor) -> Tensor:
    """Return the weighted mean of every cluster, C = (M^T D M)^-1 M^T D t.

    Parameters
    ----------
    t : (n, m), one row a channel.
    a : labels (n,), 0..k-1, none empty.
    d : diagonal of D, (n,); a cluster of total weight 0 counts as uniform.

    Returns
    -------
    (k, m).

    Examples
    --------
    >>> t, a = torch.tensor([[1.0], [3.0], [8.0]]), torch.tensor([0, 0, 1])
    >>> centroids(t, a, 2, torch.ones(3)).tolist()
    [[2.0], [8.0]]
    """
    total = torch.zeros(k, dtype=d.dtype, device=d.device).index_add_(0, a, d)  # the diagonal of M^T D M
    d = torch.where(total[a] > 0, d, torch.ones_like(d))
    share = d / torch.zeros_like(total).index_add_(0, a, d)[a]  # each filter's share of its cluster, sums to 1
    return t.new_zeros(k, t.shape[1]).index_add_(0, a, share[:, None] * t)


def medoids(t: Tensor, a: Tensor, k: int, d: Tensor) -> Tensor:
    """Return 1 for the medoid of every cluster and 0 for its other members, (n,): with it, D picks one filter.

    The medoid has the least sum_j d_j ||t_i - t_j||^2 over its cluster, which is to be nearest to the weighted mean.
    Parameters are those of `centroids`; of equals the first counts.

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
    """One group's tensors bound to its labels: what `reconstruct_` does at every step of a run, prepared once.

    The rows of W, bias, gamma, beta, mu and var of every producer and norm stand side by side in one matrix
    (n, m), so that one projection ties them all.
    """

    def __init__(self, model: nn.Module, group: ChannelGroup, labels: IntArray, weights: Weights = "norm") -> None:
        if weights not in get_args(Weights):
            raise PDCError(
                f"weights={weights!r}: filters are weighted by 'norm' (their squared norms), 'uniform', or 'medoid' "
                "(the one that is nearest to its cluster's mean counts alone)."
            )
        self.group, self.weights = group, weights
        self.tensors = channel_tensors(model, group)
        device = self.tensors[0].tensor.device
        self.a = torch.as_tensor(labels, device=device)
        self.k = int(self.a.max()) + 1
        self.index = [_index(t) for t in self.tensors]
        ends = np.cumsum([t.width for t in self.tensors])
        self.filters = [slice(end - t.width, end) for t, end in zip(self.tensors, ends, strict=True) if t.is_filter]

    def extend(self, optimizer_slots: list[ChannelTensor]) -> None:
        """Tie further tensors of the same layout too, such as momentum; they do not count in D."""
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
        """Write a matrix (n, m) back into the tensors."""
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
        """Return the diagonal of D, (n,): squared norms of the filters summed over producers, ones, or the medoids."""
        if self.weights == "uniform":
            return matrix.new_ones(len(matrix))
        filters = torch.cat([matrix[:, columns] for columns in self.filters], dim=1)
        norms = filters.square().sum(dim=1)
        return medoids(filters, self.a, self.k, norms) if self.weights == "medoid" else norms

    def project(self, matrix: Tensor) -> Tensor:
        """Return P t: rows of one cluster are identical to the last bit."""
        return centroids(matrix, self.a, self.k, self.d(matrix))[self.a]

    @torch.no_grad()
    def apply_(self, strength: float) -> None:
        """t <- (1-s) t + s P t, in place."""
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
    """Bind labels to a network, for many reconstructions in a row. Groups that merge nothing are left out."""
    checked = check_labels(graph, labels)
    return [
        GroupProjection(model, graph.group(name), a, weights) for name, a in checked.items() if a.max() + 1 < len(a)
    ]


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
    model, graph : the network and its trace. The network is changed.
    labels : {group name: int array (n,)}; groups that are absent are left alone.
    strength : s, 0 (nothing happens) to 1 (tied).
    weights : D is "norm" (each filter's squared norm, summed over the group's producers), "uniform", or "medoid": 1 for
        the filter nearest to its cluster's mean (weighted by norm), which the others then move to, 0 for them.

    Raises
    ------
    PDCError
        Labels do not fit the graph, the strength is outside [0, 1], or `weights` is unknown.

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

    0 when every cluster is tied, 1 when the centroids are all zero. Parameters are those of `reconstruct_`.
    """
    return deviation_of_bound(tie(model, graph, labels, weights))


@torch.no_grad()
def deviation_of_bound(ties: list[GroupProjection]) -> float:
    """Return the `deviation` of groups that are bound to their labels already."""
    away = total = 0.0
    for each in ties:
        t = each.pack()
        pt = each.project(t)
        for columns in each.filters:
            away += float((t[:, columns] - pt[:, columns]).square().sum())
            total += float(t[:, columns].square().sum())
    return (away / total) ** 0.5 if total > 0 else 0.0
