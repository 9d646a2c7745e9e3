"""Labels: the numbering that all modules share, and the check that labels from anywhere fit a graph.

Labels are plain mappings {group name: int array (n,)}, so that any mapping a user has is accepted.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pdc_core.errors import PDCError
from pdc_core.graph import ChannelGraph

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Labels = dict[str, IntArray]


def canonical(labels: IntArray) -> IntArray:
    """Return the same clusters numbered by their first member.

    Parameters
    ----------
    labels : array of int, shape (n,)
        Filters with equal numbers share a cluster.

    Returns
    -------
    array of int64, shape (n,)
        Labels 0..k-1.

    Examples
    --------
    >>> canonical(np.array([7, 2, 7, 5]))
    array([0, 1, 0, 2])
    """
    highest = np.maximum.accumulate(labels)
    if labels[0] == 0 and labels.min() == 0 and (np.diff(highest) <= 1).all():
        return labels.astype(np.int64)  # numbered so already
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse.reshape(-1)]


def split_to(labels: IntArray, k: int) -> IntArray:
    """Return labels with at least k clusters: while there are fewer, the last member of the largest one leaves it.

    Parameters
    ----------
    labels : array of int, shape (n,)
        Filters with equal numbers share a cluster.
    k : int
        Clusters, 1 to n.

    Returns
    -------
    array of int64, shape (n,)
        Labels 0..k-1.

    Examples
    --------
    >>> split_to(np.array([0, 0, 0, 1]), 3)
    array([0, 0, 2, 1])
    """
    labels = canonical(labels)
    for new in range(cluster_count(labels), k):
        largest = int(np.bincount(labels).argmax())
        labels[np.flatnonzero(labels == largest)[-1]] = new
    return labels


def cluster_count(labels: IntArray) -> int:
    """Return the number of clusters k.

    Parameters
    ----------
    labels : array of int, shape (n,)
        Labels 0..k-1; no cluster is empty.

    Returns
    -------
    int
        k, 1 to n.

    Examples
    --------
    >>> cluster_count(np.array([0, 1, 0]))
    2
    """
    return int(labels.max()) + 1


def merged_groups(labels: Mapping[str, IntArray]) -> Labels:
    """Return the labels of those groups in which any two filters share a cluster.

    Parameters
    ----------
    labels : mapping of str to array of int, shape (n,)
        Labels 0..k-1 by the name of the group.

    Returns
    -------
    dict of str to array of int, shape (n,)
        In the same order.

    Examples
    --------
    >>> merged_groups({"conv1": np.array([0, 0]), "conv2": np.array([0, 1])})
    {'conv1': array([0, 0])}
    """
    return {name: a for name, a in labels.items() if cluster_count(a) < len(a)}


def check_labels(graph: ChannelGraph, labels: Mapping[str, IntArray]) -> Labels:
    """Return labels in canonical numbering, or raise with the first thing that does not fit the graph.

    Parameters
    ----------
    graph : ChannelGraph
        The trace of a network.
    labels : mapping of str to array of int, shape (n,)
        By the name of the group; groups may be left out.

    Returns
    -------
    dict of str to array of int64, shape (n,)
        Labels 0..k-1, numbered by first member.

    Raises
    ------
    PDCError
        If a group does not exist or is frozen, an array has another length or no integers, or a cluster reaches across
        the groups of a grouped convolution.
    """
    checked: Labels = {}
    for name, given in labels.items():
        group, array = graph.group(name), np.asarray(given)
        if group.frozen is not None:
            raise PDCError(f"Group {name!r} is frozen ({group.frozen}); leave it out of the labels.")
        if array.shape != (group.size,) or not np.issubdtype(array.dtype, np.integer):
            raise PDCError(
                f"Labels of group {name!r} are {array.dtype} of shape {array.shape}; expected {group.size} integers, "
                "one per filter."
            )
        own = canonical(array.astype(np.int64))
        if group.blocks > 1 and not _fit(own, group.block):
            raise PDCError(
                f"Clusters of group {name!r} do not fit its {group.blocks} convolution groups: merge filters only "
                "within one of them, and keep the same number in each."
            )
        checked[name] = own
    return checked


def _fit(labels: IntArray, block: IntArray) -> bool:
    """Return whether no cluster reaches across blocks, and every block keeps equally many."""
    pairs = np.unique(np.stack([labels, block]), axis=1)
    per_block = np.bincount(pairs[1])
    return bool(pairs.shape[1] == cluster_count(labels) and (per_block == per_block[0]).all())
