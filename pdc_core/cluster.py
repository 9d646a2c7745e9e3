"""Clustering: which filters of a group are alike. Filter vectors in, labels out; no weight is changed.

Default (our choice, DESIGN.md section 2): k-means on the raw filters, each weighted by its squared norm, so that
filters that do nothing do not pull a centroid away from those that do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pdc_core.errors import PDCError
from pdc_core.graph import ChannelGraph, ChannelGroup
from pdc_core.graph.tensors import filters
from pdc_core.plan import Plan

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Labels = dict[str, IntArray]


def filter_vectors(model: nn.Module, group: ChannelGroup) -> FloatArray:
    """Return the raw filters of a group, one row a channel: float64 array (n, d).

    Where several layers produce the group (a shared sum, a depthwise convolution), row i is the concatenation of
    filter i of each of them.

    Raises
    ------
    PDCError
        A weight is not finite.
    """
    parts = [filters(model.get_submodule(p.module), p.channels).cpu().double().numpy() for p in group.producers]
    vectors = np.concatenate(parts, axis=1)
    if not np.isfinite(vectors).all():
        bad = int((~np.isfinite(vectors).all(axis=1)).sum())
        raise PDCError(
            f"{bad} of {group.size} filters of {group.name!r} hold weights that are not finite (NaN or infinity); "
            "nothing can be clustered until the network is loaded from a good checkpoint."
        )
    return vectors


def filter_weights(model: nn.Module, group: ChannelGroup) -> FloatArray:
    """Return the diagonal of D: each filter's squared norm, summed over the producers of the group, (n,)."""
    return (filter_vectors(model, group) ** 2).sum(axis=1)


def canonical(labels: IntArray) -> IntArray:
    """Return the same clusters numbered by their first member: labels 0..k-1.

    >>> canonical(np.array([7, 2, 7, 5]))
    array([0, 1, 0, 2])
    """
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse.reshape(-1)]


def cluster(vectors: FloatArray, k: int, weights: FloatArray | None = None, seed: int = 0) -> IntArray:
    """Group n vectors into exactly k clusters by k-means; minimise sum_i D_ii ||w_i - c_(a_i)||^2.

    Parameters
    ----------
    vectors : (n, d).
    k : clusters, 1 to n. None is empty: where fewer than k vectors differ, equal ones are split.
    weights : the diagonal of D, (n,), not negative; None or all zero means uniform.
    seed : of k-means++.

    Returns
    -------
    labels (n,), 0..k-1, numbered by first member.

    Raises
    ------
    PDCError
        k is out of range, or vectors are not finite.

    Examples
    --------
    >>> cluster(np.array([[0.0], [5.0], [0.1], [5.2]]), k=2)
    array([0, 1, 0, 1])
    """
    n = len(vectors)
    if not 1 <= k <= n:
        raise PDCError(f"k={k} clusters of {n} filters: allowed are 1 to {n}.")
    if not np.isfinite(vectors).all():
        raise PDCError("Vectors that are not finite (NaN or infinity) cannot be clustered.")
    if k == n:
        return np.arange(n)
    if k == 1:
        return np.zeros(n, dtype=np.int64)
    d = np.ones(n) if weights is None or not weights.sum() > 0 else np.asarray(weights, dtype=np.float64)
    points, inverse = np.unique(vectors, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    if len(points) <= k:  # fewer different filters than clusters: k-means has nothing to choose
        return canonical(_split_to(inverse.astype(np.int64), k))
    return canonical(_split_to(_kmeans(points, k, np.bincount(inverse, d).astype(np.float64), seed)[inverse], k))


def _kmeans(points: FloatArray, k: int, d: FloatArray, seed: int) -> IntArray:
    from sklearn.cluster import KMeans

    n = len(points)
    if points.shape[1] > n:  # rotate into the span of the points, at most n dimensions: no distance changes
        points = np.transpose(np.linalg.qr(points.T, mode="r"))
    d = np.maximum(d / d.max(), 1e-12)  # a filter without weight follows the others, but may still seed a cluster
    starts = 10 if n <= 64 else 3 if n <= 256 else 1  # the larger the group, the less another start finds
    model = KMeans(n_clusters=k, n_init=starts, random_state=seed)
    return model.fit(points, sample_weight=d).labels_.astype(np.int64)


def _split_to(labels: IntArray, k: int) -> IntArray:
    """Return labels with exactly k clusters: while there are fewer, the last member of the largest one leaves it."""
    labels = canonical(labels)
    for new in range(int(labels.max()) + 1, k):
        largest = int(np.bincount(labels).argmax())
        labels[np.flatnonzero(labels == largest)[-1]] = new
    return labels


def assign(
    model: nn.Module, graph: ChannelGraph, plan: Plan, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Labels:
    """Cluster the filters of every group of a plan.

    Parameters
    ----------
    model, graph : a network and its trace; the network is not changed.
    plan : clusters kept per group; groups that it does not name keep all their filters.
    seed : of k-means; the same seed gives the same labels.
    progress : called with (groups done, groups in all).

    Returns
    -------
    {group name: int array (n,)} with labels 0..k-1, for every group that can be clustered.

    Raises
    ------
    PDCError
        The plan does not fit the graph, or a weight is not finite.
    """
    plan.check(graph)
    labels: Labels = {}
    groups = graph.clusterable
    for done, group in enumerate(groups):
        labels[group.name] = assign_group(model, group, plan.counts.get(group.name, group.size), seed)
        if progress is not None:
            progress(done + 1, len(groups))
    return labels


def assign_group(model: nn.Module, group: ChannelGroup, k: int, seed: int = 0) -> IntArray:
    """Cluster the filters of one group into k clusters, as `assign` does: labels (n,).

    Where a grouped convolution reads or writes the group, every block of it gets k / blocks clusters of its own.
    """
    vectors = filter_vectors(model, group)
    d = (vectors**2).sum(axis=1)
    if group.blocks == 1:
        return cluster(vectors, k, d, seed)
    labels, each = np.zeros(group.size, dtype=np.int64), k // group.blocks
    for b in range(group.blocks):
        members = np.flatnonzero(group.block == b)
        labels[members] = b * each + cluster(vectors[members], each, d[members], seed)
    return canonical(labels)


def check_labels(graph: ChannelGraph, labels: Mapping[str, IntArray]) -> Labels:
    """Return labels in canonical numbering, or raise with what does not fit the graph.

    Raises
    ------
    PDCError
        A group does not exist or is frozen, an array has another length or holds no integers, or a cluster reaches
        across the groups of a grouped convolution.
    """
    checked: Labels = {}
    for name, given in labels.items():
        group, array = graph.group(name), np.asarray(given)
        if group.frozen is not None:
            raise PDCError(f"Group {name!r} is frozen ({group.frozen}); leave it out of the labels.")
        if array.shape != (group.size,) or not np.issubdtype(array.dtype, np.integer):
            raise PDCError(
                f"Labels of group {name!r} are {array.dtype} of shape {array.shape}; expected {group.size} integers, "
                "one a filter."
            )
        own = canonical(array.astype(np.int64))
        pairs = np.unique(np.stack([own, group.block]), axis=1)
        per_block = np.bincount(pairs[1])
        if pairs.shape[1] != own.max() + 1 or (per_block != per_block[0]).any():
            raise PDCError(
                f"Clusters of group {name!r} do not fit its {group.blocks} convolution groups: merge filters only "
                "within one of them, and keep the same number in each."
            )
        checked[name] = own
    return checked
