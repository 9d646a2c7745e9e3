"""Clustering algorithms: n vectors, their weights and k in, labels out. Pure functions on arrays.

All of them lower the same sum, sum_i D_ii ||w_i - c_(a_i)||^2: k-means by alternating, Ward by merging greedily,
k-medoids by swapping, with the c_j among the w_i.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pdc_core.clustering.distances import squared_distances
from pdc_core.clustering.labels import FloatArray, IntArray, canonical, split_to
from pdc_core.clustering.medoids import kmedoids
from pdc_core.errors import PDCError

LARGE, SKETCH = 512, 256  # points from which k-means starts on a sketch of them, and its dimensions


def cluster(
    vectors: FloatArray, k: int, weights: FloatArray | None = None, seed: int = 0, algorithm: str = "kmeans"
) -> IntArray:
    """Group n vectors into exactly k clusters; minimise sum_i D_ii ||w_i - c_(a_i)||^2.

    Parameters
    ----------
    vectors : (n, d).
    k : clusters, 1 to n. None is empty: where fewer than k vectors differ, equal ones are split.
    weights : the diagonal of D, (n,), not negative; None or all zero means uniform.
    seed : of k-means++, from which k-means and k-medoids start; Ward has no chance in it.
    algorithm : a name in ALGORITHMS.

    Returns
    -------
    labels (n,), 0..k-1, numbered by first member.

    Raises
    ------
    PDCError
        k is out of range, vectors are not finite, or the algorithm is unknown.

    Examples
    --------
    >>> cluster(np.array([[0.0], [5.0], [0.1], [5.2]]), k=2)
    array([0, 1, 0, 1])
    """
    n = len(vectors)
    if algorithm not in ALGORITHMS:
        raise PDCError(f"There is no clustering algorithm {algorithm!r}; there are {', '.join(ALGORITHMS)}.")
    if not 1 <= k <= n:
        raise PDCError(f"k={k} clusters of {n} filters: allowed are 1 to {n}.")
    if not np.isfinite(vectors).all():
        raise PDCError("Vectors that are not finite (NaN or infinity) cannot be clustered.")
    if k == n:
        return np.arange(n)
    if k == 1:
        return np.zeros(n, dtype=np.int64)
    points, inverse = np.unique(vectors, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    if len(points) <= k:  # fewer different filters than clusters: there is nothing to choose
        return canonical(split_to(inverse.astype(np.int64), k))
    d = np.bincount(inverse, _weights(weights, n)).astype(np.float64)
    return canonical(split_to(ALGORITHMS[algorithm](_rotated(points), k, d, seed)[inverse], k))


def _weights(weights: FloatArray | None, n: int) -> FloatArray:
    """Return D's diagonal, or ones; a filter without weight follows the others, but may still seed a cluster."""
    d = np.ones(n) if weights is None or not weights.sum() > 0 else np.asarray(weights, dtype=np.float64)
    return np.maximum(d / d.max(), 1e-12)


def _rotated(points: FloatArray) -> FloatArray:
    """Return long points in coordinates of their span, n dimensions: no distance changes."""
    return np.transpose(np.linalg.qr(points.T, mode="r")) if points.shape[1] > 2 * len(points) else points


def kmeans(points: FloatArray, k: int, d: FloatArray, seed: int) -> IntArray:
    """Weighted k-means from k-means++ (scikit-learn).

    The start of more than LARGE points is chosen on their random projection to SKETCH dimensions, where all distances
    are right to about a sixteenth: 2,048 filters take a quarter of the time and end within about 1 % of the inertia.

    Source: Lloyd 1982; Arthur and Vassilvitskii 2007; Johnson and Lindenstrauss 1984 for the projection.
    """
    from sklearn.cluster import KMeans, kmeans_plusplus
    from sklearn.random_projection import GaussianRandomProjection

    n = len(points)
    if n > LARGE and points.shape[1] > SKETCH:
        sketch = GaussianRandomProjection(SKETCH, random_state=seed).fit_transform(points)
        _, chosen = kmeans_plusplus(sketch, k, sample_weight=d, random_state=seed)
        model = KMeans(n_clusters=k, init=points[chosen], n_init=1)
    else:
        starts = 10 if n <= 64 else 3 if n <= 256 else 1  # the larger the group, the less another start finds
        model = KMeans(n_clusters=k, n_init=starts, random_state=seed)
    return model.fit(points, sample_weight=d).labels_.astype(np.int64)


def ward(points: FloatArray, k: int, d: FloatArray, seed: int) -> IntArray:
    """Ward's tree cut at k clusters; see `ward_linkage`. The clusters of k lie within those of k - 1."""
    return cut_tree(ward_linkage(points, d), k)


def column_subset(points: FloatArray, k: int, d: FloatArray, seed: int) -> IntArray:
    """Keep the k points that recover all others best by linear combinations; each other joins the nearest in angle.

    What is lowered is sum_i D_ii ||w_i - (R w_S)_i||^2, see `elimination_order`. Our choice.
    """
    c = points @ points.T
    stays = np.setdiff1d(np.arange(len(points)), elimination_order(c, np.diag(d), len(points) - k))
    return assign_to_representatives(c, stays)


ALGORITHMS: dict[str, Callable[[FloatArray, int, FloatArray, int], IntArray]] = {
    "kmeans": kmeans,
    "kmedoids": kmedoids,
    "ward": ward,
    "representatives": column_subset,
}


def elimination_order(c: FloatArray, h: FloatArray, count: int, a: IntArray | None = None) -> IntArray:
    """Return which channels to leave out, one by one: those that linear combinations of the others replace best.

    Each time the channel goes that raises tr(H E[(x - R x_S)(x - R x_S)^T]) least, with R the least-squares
    coefficients of all channels on those that stay: removing j costs (R^T H R)_jj / (C_S^-1)_jj.

    Parameters
    ----------
    c : second moments or covariance of the channels, (n, n).
    h : what errors cost, (n, n): V V^T of the kernels v_i that read the channels, or its diagonal.
    count : how many go, less than n.
    a : labels (n,); the last member of a cluster stays. By default all are one cluster.

    Returns
    -------
    (count,) channels in the order in which they go. Work and memory grow as n^3 and n^2.

    Source: backward elimination for column subset selection; the trace with H is our choice.

    Examples
    --------
    >>> c = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 2.0]])  # the third is the sum of the others
    >>> elimination_order(c, np.diag([1.0, 1.0, 0.1]), 1)
    array([2])
    """
    n = len(c)
    a = np.zeros(n, dtype=np.int64) if a is None else a
    scale = np.trace(c) / n or 1.0
    inverse, g = np.linalg.inv(c + 1e-6 * scale * np.eye(n)), np.array(h, dtype=np.float64)
    alive, gone = np.ones(n, dtype=bool), []
    for _ in range(count):
        free = alive & (np.bincount(a[alive], minlength=a.max() + 1)[a] > 1)
        cost = np.where(free, np.diag(g), np.inf) / np.where(free, np.diag(inverse), 1.0)
        j = int(cost.argmin())
        u = inverse[j] / inverse[j, j]
        g = g - np.outer(g[:, j], u) - np.outer(u, g[j]) + g[j, j] * np.outer(u, u)  # R^T H R without column j
        inverse = inverse - np.outer(inverse[:, j], u)
        alive[j] = False
        gone.append(j)
    return np.array(gone, dtype=np.int64)


def assign_to_representatives(c: FloatArray, stays: IntArray, a: IntArray | None = None) -> IntArray:
    """Return clusters around the channels that stay: every other joins the one with the largest |correlation|.

    Parameters
    ----------
    c : second moments or covariance, (n, n).
    stays : (k,) channels; cluster j is that of stays[j].
    a : labels (n,); channels join only within their own, by default anywhere.
    """
    size = np.sqrt(np.maximum(np.diag(c), np.finfo(float).tiny))
    near = np.abs(c[:, stays]) / size[:, None] / size[stays]
    if a is not None:
        near[a[:, None] != a[stays]] = -1
    labels = near.argmax(axis=1)
    labels[stays] = np.arange(len(stays))
    return labels


def ward_linkage(vectors: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Merge weighted vectors by Ward's criterion until one cluster is left; one tree gives the clusters of every k.

    Merging clusters A and B raises the inertia by d_A d_B / (d_A + d_B) ||c_A - c_B||^2, with d a cluster's total
    weight and c its weighted mean.

    Parameters
    ----------
    vectors : (n, d), n at least 1.
    weights : the diagonal of D, (n,), not negative; None or all zero means uniform.

    Returns
    -------
    (n-1, 4) in SciPy's format: the two clusters merged (below n: a vector; n + j: the cluster of row j), the height
    sqrt(2 * rise in inertia), in ascending order, and the number of vectors in the new cluster. With uniform weights it
    is ``scipy.cluster.hierarchy.linkage(vectors, "ward")``; weights count relative to their largest.

    Source: Ward 1963; the update of distances, Lance and Williams 1967; nearest-neighbour chains, Murtagh 1983.

    Examples
    --------
    >>> ward_linkage(np.array([[0.0], [4.0], [1.0]])).round(2).tolist()
    [[0.0, 2.0, 1.0, 2.0], [1.0, 3.0, 4.04, 3.0]]
    """
    n, d = len(vectors), _weights(weights, len(vectors))
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
    """Return d_i d_j / (d_i + d_j) ||x_i - x_j||^2, what merging two vectors costs, (n, n); infinity for i = j."""
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
    """Return the labels of a tree cut at k clusters: the first n - k merges are done.

    Raises
    ------
    PDCError
        k is out of range.

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
