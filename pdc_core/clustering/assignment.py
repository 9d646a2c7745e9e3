"""Labels for a whole network: the vectors and the algorithm, applied to every group of a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch import Tensor, nn

from pdc_core.clustering.algorithms import cluster
from pdc_core.clustering.covariances import ReaderCovariances, channel_covariances
from pdc_core.clustering.labels import FloatArray, IntArray, Labels, canonical, check_labels
from pdc_core.clustering.vectors import covariance_factor, filter_vectors, filter_weights, vectors_for
from pdc_core.graph import ChannelGraph, ChannelGroup
from pdc_core.plan import Plan
from pdc_core.seeds import check_seed


def assign(
    model: nn.Module,
    graph: ChannelGraph,
    plan: Plan,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    *,
    vectors: str | None = None,
    algorithm: str | None = None,
    images: Tensor | None = None,
) -> Labels:
    """Cluster the filters of every group of a plan; clusters by hand and pinned filters stay as they are in the plan.

    Parameters
    ----------
    model : nn.Module
        The network; it is not changed.
    graph : ChannelGraph
        Its trace.
    plan : Plan
        Clusters to keep per group; groups that it does not name keep all their filters.
    seed : int, default 0
        Seed of k-means; the same seed gives the same labels.
    progress : callable, optional
        Called with (groups done, groups in all).
    vectors, algorithm : str, optional
        Names in VECTORS and ALGORITHMS, instead of the plan's. By "activations" only groups are compared that
        something reads; the others by their raw weights.
    images : Tensor, shape (b, c, h, w), optional
        Prepared images, for vectors that are measured on data.

    Returns
    -------
    dict of str to array of int64, shape (n,)
        Labels 0..k-1 by the name of the group, for every group that can be clustered.

    Raises
    ------
    PDCError
        If the plan does not fit the graph, a weight is not finite, or a name is unknown.
    """
    plan.check(graph)
    check_seed(seed)
    kind, how = vectors or plan.vectors, algorithm or plan.algorithm
    labels: Labels = {}
    groups = graph.clusterable
    measured: Mapping[str, ReaderCovariances] = {}
    if kind == "activations" and images is not None:
        measured = channel_covariances(model, [group for group in groups if group.readers], images)
    for done, group in enumerate(groups):
        if group.name in plan.hand:
            labels |= check_labels(graph, {group.name: np.array(plan.hand[group.name])})
        else:
            k, pins = plan.counts.get(group.name, group.size), plan.pinned.get(group.name, ())
            own = vectors_for(group, kind)
            points = _points(model, group, own, images, measured)
            labels[group.name] = cluster_blocks(points, filter_weights(model, group, own), group, k, seed, how, pins)
        if progress is not None:
            progress(done + 1, len(groups))
    return labels


def deal_out(graph: ChannelGraph, plan: Plan) -> Labels:
    """Return clusters of the planned numbers, filters dealt out to them in turn, for measuring what a plan costs.

    The time and the memory of a folded network depend on its widths, not on which filters share a cluster.

    Parameters
    ----------
    graph : ChannelGraph
        The trace of a network.
    plan : Plan
        Clusters kept per group.

    Returns
    -------
    dict of str to int array, shape (n,)
        The cluster of every filter, by group; each block of a grouped convolution has as many clusters as the others.

    Raises
    ------
    PDCError
        The plan does not fit the graph.
    """
    plan.check(graph)
    labels: Labels = {}
    for group in graph.clusterable:
        each = plan.counts.get(group.name, group.size) // group.blocks
        labels[group.name] = np.zeros(group.size, dtype=np.int64)
        for b in range(group.blocks):
            members = np.flatnonzero(group.block == b)
            labels[group.name][members] = b * each + np.arange(len(members)) % each
    return labels


def assign_group(
    model: nn.Module,
    group: ChannelGroup,
    k: int,
    seed: int = 0,
    *,
    vectors: str = "raw",
    algorithm: str = "kmeans",
    images: Tensor | None = None,
    pinned: Sequence[int] = (),
) -> IntArray:
    """Cluster the filters of one group into k clusters, as `assign` does.

    If a grouped convolution reads or writes the group, every block of it gets k / blocks clusters of its own.

    Parameters
    ----------
    model : nn.Module
        The network; it is not changed.
    group : ChannelGroup
        The group, of n filters.
    k : int
        Clusters, 1 to n; a multiple of the group's blocks.
    seed : int, default 0
        Seed of k-means.
    vectors, algorithm : str, default "raw" and "kmeans"
        Names in VECTORS and ALGORITHMS.
    images : Tensor, shape (b, c, h, w), optional
        Prepared images, for vectors that are measured on data.
    pinned : sequence of int, default ()
        Filters that are each a cluster by themselves; the others share the rest of the count.

    Returns
    -------
    array of int64, shape (n,)
        Labels 0..k-1, numbered by first member.

    Raises
    ------
    PDCError
        If k is out of range, a weight is not finite, or a name is unknown.
    """
    points, d = filter_vectors(model, group, vectors, images), filter_weights(model, group, vectors)
    return cluster_blocks(points, d, group, k, seed, algorithm, pinned)


def _points(
    model: nn.Module,
    group: ChannelGroup,
    vectors: str,
    images: Tensor | None,
    measured: Mapping[str, ReaderCovariances],
) -> FloatArray:
    """Return a group's vectors, from the covariances of all groups if they were measured in one pass."""
    if group.name in measured:
        return covariance_factor(measured[group.name].covariance)
    return filter_vectors(model, group, vectors, images)


def cluster_blocks(
    points: FloatArray,
    d: FloatArray,
    group: ChannelGroup,
    k: int,
    seed: int = 0,
    algorithm: str = "kmeans",
    pinned: Sequence[int] = (),
) -> IntArray:
    """Cluster vectors of a group's filters block by block, with the pinned filters by themselves.

    Parameters
    ----------
    points : array of float64, shape (n, d)
        One row per filter.
    d : array of float64, shape (n,)
        The diagonal of D, 0 or more.
    group : ChannelGroup
        The group, of n filters.
    k : int
        Clusters, 1 to n; a multiple of the group's blocks.
    seed : int, default 0
        Seed of k-means.
    algorithm : str, default "kmeans"
        A name in ALGORITHMS.
    pinned : sequence of int, default ()
        Filters that are each a cluster by themselves; the others share the rest of the count.

    Returns
    -------
    array of int64, shape (n,)
        Labels 0..k-1, numbered by first member.
    """
    block = group.block
    alone = np.isin(np.arange(group.size), pinned)
    labels, each, used = np.zeros(group.size, dtype=np.int64), k // group.blocks, 0
    for b in range(group.blocks):
        pins, others = np.flatnonzero(alone & (block == b)), np.flatnonzero(~alone & (block == b))
        labels[pins] = used + np.arange(len(pins))
        if len(others):
            own = cluster(points[others], each - len(pins), d[others], seed, algorithm)
            labels[others] = used + len(pins) + own
        used += each
    return canonical(labels)
