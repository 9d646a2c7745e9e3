"""Ward's linkage with weights: one tree gives the clusters of every k, those of k within those of k - 1."""

from __future__ import annotations

import numpy as np

from pdc_core.clustering.distances import squared_distances
from pdc_core.clustering.labels import FloatArray, IntArray, canonical
from pdc_core.errors import PDCError


def ward(points: FloatArray, k: int, d: FloatArray, seed: int) -> IntArray:
    """Ward's tree cut at k clusters; see `ward_linkage`. The clusters of k lie within those of k - 1.

    Parameters
    ----------
    points : array of float, shape (n, d)
        All different.
    k : int
        Clusters, 2 to n - 1.
    d : array of float, shape (n,)
        Weights, above 0.
    seed : int
        Not used: nothing is random.

    Returns
    -------
    array of int64, shape (n,)
        Labels.
    """
    return cut_tree(ward_linkage(points, d), k)


def ward_linkage(vectors: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Merge weighted vectors by Ward's criterion until one cluster is left; one tree gives the clusters of every k.

    Merging clusters A and B raises the inertia by d_A d_B / (d_A + d_B) ||c_A - c_B||^2, with d a cluster's total
    weight and c its weighted mean.

    Parameters
    ----------
    vectors : array of float, shape (n, d)
        One row per filter, n at least 1.
    weights : array of float, shape (n,), optional
        The diagonal of D, 0 or more; uniform by default and if all are zero.

    Returns
    -------
    array of float64, shape (n-1, 4)
        The tree in SciPy's format: the two clusters merged (below n: a vector; n + j: the cluster of row j), the height
        sqrt(2 * rise in inertia), in ascending order, and the number of vectors in the new cluster. With uniform
        weights it is ``scipy.cluster.hierarchy.linkage(vectors, "ward")``; weights count relative to their largest.

    Source: Ward 1963; the update of distances, Lance and Williams 1967; nearest-neighbour chains, Murtagh 1983.

    Examples
    --------
    >>> ward_linkage(np.array([[0.0], [4.0], [1.0]])).round(2).tolist()
    [[0.0, 2.0, 1.0, 2.0], [1.0, 3.0, 4.04, 3.0]]
    """
    n, d = len(vectors), relative_weights(weights, len(vectors))
    rise, alive, chain = _rises(np.asarray(vectors, dtype=np.float64), d), np.ones(n, dtype=bool), [0]
    merges: list[tuple[float, int, int]] = []
    while len(merges) < n - 1:
        if not chain:
            chain = [int(alive.argmax())]
        a = chain[-1]
        b = int(rise[a].argmin())
        if len(chain) > 1 and rise[a, chain[-2]] <= rise[a, b]:  # each the other one's nearest: nothing can part them
            b = chain[-2]
            chain = chain[:-2]
            merges.append((float(rise[a, b]), min(a, b), max(a, b)))
            keep, gone = merges[-1][1:]
            row = (d[a] + d) * rise[a] + (d[b] + d) * rise[b] - d * rise[a, b]  # Lance and Williams
            d[keep] += d[gone]
            rise[keep] = rise[:, keep] = np.maximum(row / (d[keep] + d), 0)
            rise[gone] = rise[:, gone] = np.inf
            rise[keep, keep] = np.inf
            alive[gone] = False
        else:
            chain.append(b)
    return _as_tree(merges, n)


def _rises(x: FloatArray, d: FloatArray) -> FloatArray:
    """Return d_i d_j / (d_i + d_j) ||x_i - x_j||^2, the cost of merging two vectors, (n, n); infinity for i = j."""
    rise = d[:, None] * d[None, :] / (d[:, None] + d[None, :]) * squared_distances(x)
    np.fill_diagonal(rise, np.inf)
    return rise


def _as_tree(merges: list[tuple[float, int, int]], n: int) -> FloatArray:
    """Return merges of representatives in SciPy's format, sorted by height."""
    tree, name, size = np.zeros((len(merges), 4)), np.arange(2 * n - 1), np.ones(2 * n - 1, dtype=np.int64)
    parent = np.arange(n)

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    for row, (rise, a, b) in enumerate(sorted(merges, key=lambda merge: merge[0])):
        a, b = root(a), root(b)
        size[a] += size[b]
        tree[row] = min(name[a], name[b]), max(name[a], name[b]), (2 * rise) ** 0.5, size[a]
        parent[b], name[a] = a, n + row
    return tree


def cut_tree(tree: FloatArray, k: int) -> IntArray:
    """Return the labels of a tree cut at k clusters, after its first n - k merges.

    Parameters
    ----------
    tree : array of float, shape (n-1, 4)
        As `ward_linkage` returns it.
    k : int
        Clusters, 1 to n.

    Returns
    -------
    array of int64, shape (n,)
        Labels 0..k-1, numbered by first member.

    Raises
    ------
    PDCError
        If k is out of range.

    Examples
    --------
    >>> cut_tree(ward_linkage(np.array([[0.0], [4.0], [1.0]])), 2)
    array([0, 1, 0])
    """
    n = len(tree) + 1
    if not 1 <= k <= n:
        raise PDCError(f"k={k} clusters of {n} filters: allowed are 1 to {n}.")
    labels = np.arange(2 * n - 1)
    for row in range(n - k):
        labels[np.isin(labels, labels[tree[row, :2].astype(int)])] = n + row
    return canonical(labels[:n])


def relative_weights(weights: FloatArray | None, n: int) -> FloatArray:
    """Return the diagonal of D relative to its largest entry.

    Parameters
    ----------
    weights : array of float, shape (n,), or None
        0 or more; None or all zero means uniform.
    n : int
        Number of vectors.

    Returns
    -------
    array of float64, shape (n,)
        At most 1 and at least 1e-12: a filter without weight follows the others, but may still seed a cluster.
    """
    d = np.ones(n) if weights is None or not weights.sum() > 0 else np.asarray(weights, dtype=np.float64)
    return np.maximum(d / d.max(), 1e-12)
