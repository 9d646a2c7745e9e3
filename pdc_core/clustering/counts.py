"""How many clusters? Inertia and silhouette for every k at once from one Ward tree, the tree as lines, a suggestion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pdc_core.clustering.distances import squared_distances
from pdc_core.clustering.labels import FloatArray, IntArray
from pdc_core.clustering.ward import ward_linkage

# Kaufman and Rousseeuw 1990 call a best silhouette of 0.25 or less «no substantial structure».
STRUCTURE = 0.25


@dataclass(frozen=True, eq=False)
class Curve:
    """The quality of every number of clusters from 1 to n.

    Attributes
    ----------
    k : array of int64, shape (n,)
        1 to n.
    inertia : array of float64, shape (n,)
        sum_i D_ii ||w_i - c_(a_i)||^2 of the Ward tree cut at k, with D relative to its largest entry; falls to 0.
    silhouette : array of float64, shape (n,)
        Mean over the filters, -1 to 1; NaN for k = 1, where it is not defined, and 0 for k = n.
    tree : array of float64, shape (n-1, 4)
        The tree, see `ward_linkage`.
    """

    k: IntArray
    inertia: FloatArray
    silhouette: FloatArray
    tree: FloatArray

    @property
    def lost(self) -> FloatArray:
        """Share of the filters' spread that k centroids do not explain, (n,): 1 at k = 1, 0 at k = n."""
        return self.inertia / self.inertia[0] if self.inertia[0] > 0 else np.zeros_like(self.inertia)


@dataclass(frozen=True)
class Suggestion:
    """A number of clusters and the reason for it.

    Attributes
    ----------
    k : int
        The number of clusters.
    reason : str
        Why, in one or two sentences.
    """

    k: int
    reason: str


def curve(vectors: FloatArray, weights: FloatArray | None = None) -> Curve:
    """Rate every number of clusters by one Ward tree, in about n^2 steps.

    Parameters
    ----------
    vectors : array of float, shape (n, d)
        One row per filter, n at least 1.
    weights : array of float, shape (n,), optional
        The diagonal of D, 0 or more; uniform by default and if all are zero. Silhouettes are unweighted.

    Returns
    -------
    Curve
        Inertia and silhouette for k = 1..n, and the tree.

    Examples
    --------
    >>> found = curve(np.array([[0.0], [0.1], [5.0], [5.1]]))
    >>> int(found.k[np.nanargmax(found.silhouette)])
    2
    """
    n, tree = len(vectors), ward_linkage(vectors, weights)
    inertia = np.concatenate([np.cumsum(tree[:, 2] ** 2 / 2)[::-1], [0.0]])  # k = 1 first: all merges done
    return Curve(np.arange(1, n + 1), inertia, silhouettes(np.asarray(vectors, dtype=np.float64), tree), tree)


def silhouettes(vectors: FloatArray, tree: FloatArray) -> FloatArray:
    """Return the mean silhouette of a tree cut at k = 1..n.

    s_i = (b_i - a_i) / max(a_i, b_i), with a_i the mean distance to the other filters of i's cluster and b_i the
    smallest mean distance to those of another; 0 for a filter that is alone. Source: Rousseeuw 1987.

    Clusters are merged in the tree's order. Only filters whose own or nearest cluster was merged search for their
    nearest again: the mean distance to a merged cluster is never below the smaller one of its halves.

    Parameters
    ----------
    vectors : array of float, shape (n, d)
        One row per filter.
    tree : array of float, shape (n-1, 4)
        As `ward_linkage` returns it.

    Returns
    -------
    array of float64, shape (n,)
        For k = 1..n; NaN for k = 1.
    """
    n = len(vectors)
    result = np.full(n, np.nan)
    if n == 1:
        return result
    sums = _distances(vectors)  # (n, n): column c holds the sum of distances to the filters of cluster c
    own, size, column = np.arange(n), np.ones(n), {i: i for i in range(n)}
    means = sums.copy()  # (n, n): the same divided by the cluster's size; infinite for dead clusters and one's own
    np.fill_diagonal(means, np.inf)
    nearest = means.argmin(axis=1)
    result[n - 1] = 0.0
    for row in range(n - 2):
        keep, gone = column.pop(int(tree[row, 0])), column.pop(int(tree[row, 1]))
        column[n + row] = keep
        stale = (nearest == keep) | (nearest == gone) | (own == keep) | (own == gone)
        sums[:, keep] += sums[:, gone]
        size[keep] += size[gone]
        own[own == gone] = keep
        means[:, keep] = np.where(own == keep, np.inf, sums[:, keep] / size[keep])
        means[:, gone] = np.inf
        nearest[stale] = means[stale].argmin(axis=1)
        result[n - 2 - row] = _mean_silhouette(sums, means, own, size, nearest)
    return result


def _mean_silhouette(sums: FloatArray, means: FloatArray, own: IntArray, size: FloatArray, nearest: IntArray) -> float:
    i = np.arange(len(own))
    others = size[own] - 1
    a, b = sums[i, own] / np.maximum(others, 1), means[i, nearest]
    largest = np.maximum(a, b)
    return float(np.where((others > 0) & (largest > 0), (b - a) / np.where(largest > 0, largest, 1), 0.0).mean())


def silhouette(vectors: FloatArray, labels: IntArray) -> float:
    """Return the mean silhouette of given clusters, as in `silhouettes`.

    Parameters
    ----------
    vectors : array of float, shape (n, d)
        One row per filter.
    labels : array of int, shape (n,)
        Clusters 0..k-1, none empty.

    Returns
    -------
    float
        -1 to 1; NaN for one cluster, where it is not defined.

    Examples
    --------
    >>> round(silhouette(np.array([[0.0], [0.1], [5.0], [5.1]]), np.array([0, 0, 1, 1])), 2)
    0.98
    """
    k, i = int(labels.max()) + 1, np.arange(len(labels))
    if k == 1:
        return float("nan")
    size = np.bincount(labels, minlength=k).astype(np.float64)
    sums = _distances(np.asarray(vectors, dtype=np.float64)) @ np.eye(k)[labels]  # (n, k)
    means = sums / size
    means[i, labels] = np.inf
    return _mean_silhouette(sums, means, labels, size, means.argmin(axis=1))


def _distances(vectors: FloatArray) -> FloatArray:
    from scipy.spatial.distance import cdist

    if vectors.shape[1] <= 64:
        return np.asarray(cdist(vectors, vectors))
    return np.asarray(np.sqrt(squared_distances(vectors)))


def suggest(found: Curve) -> Suggestion:
    """Return a number of clusters with the reason in words. The first of these rules (our choice) that applies:

    1. some filters are equal: as many clusters as there are different ones;
    2. the best silhouette is above 0.25 (Kaufman and Rousseeuw 1990): its k;
    3. the elbow: the k at which the share of spread lost is farthest below the straight line from k = 1 to k = n.

    Parameters
    ----------
    found : Curve
        As `curve` returns it.

    Returns
    -------
    Suggestion
        The number of clusters and the reason.

    Examples
    --------
    >>> suggest(curve(np.array([[0.0], [0.1], [5.0], [5.1]]))).k
    2
    """
    n = len(found.k)
    if n < 3:
        return Suggestion(n, f"There are only {n} filters.")
    total = found.inertia[0]
    different = 1 + int((found.tree[:, 2] ** 2 > 2e-12 * total).sum())  # what adds less is rounding
    if different < n:
        return Suggestion(different, f"Only {different} of the {n} filters differ; merging equal ones loses nothing.")
    best = int(np.nanargmax(found.silhouette))
    if found.silhouette[best] > STRUCTURE:
        k = int(found.k[best])
        return Suggestion(
            k, f"The filters fall into {k} groups: the silhouette is highest there, {found.silhouette[best]:.2f}."
        )
    elbow = int((1 - found.lost - (found.k - 1) / (n - 1)).argmax())
    k = int(found.k[elbow])
    return Suggestion(
        k,
        f"No number of clusters stands out (the best silhouette is {found.silhouette[best]:.2f}; 0.25 or less means no "
        f"clear groups). At {k} the curve bends most: {1 - found.lost[elbow]:.0%} of the spread is kept by {k / n:.0%} "
        "of the filters.",
    )


@dataclass(frozen=True, eq=False)
class Dendrogram:
    """A tree as lines to draw, with at most a given number of leaves.

    Attributes
    ----------
    members : tuple of array of int64
        Per leaf, from left to right, the filters in it.
    joints : array of float64, shape (leaves-1, 6)
        One row per merge, in ascending order of height: x of its left and right leg, their two lower ends, the height,
        and the number of clusters k just before the merge, so that a cut at k keeps it apart.
    """

    members: tuple[NDArray[np.int64], ...]
    joints: FloatArray


def dendrogram(tree: FloatArray, leaves: int = 64) -> Dendrogram:
    """Lay out the top of a tree, its leaves at x = 0, 1, 2, ...

    Parameters
    ----------
    tree : array of float, shape (n-1, 4)
        As `ward_linkage` returns it.
    leaves : int, default 64
        At most this many; if there are more filters, a leaf is a cluster.

    Returns
    -------
    Dendrogram
        Leaves and joints.

    Examples
    --------
    >>> dendrogram(ward_linkage(np.array([[0.0], [4.0], [1.0]]))).joints[:, [0, 1, 5]].tolist()
    [[1.0, 2.0, 3.0], [0.0, 1.5, 2.0]]
    """
    n = len(tree) + 1
    first = max(0, n - leaves)  # merges inside leaves, not drawn
    members: dict[int, list[int]] = {i: [i] for i in range(n)}
    for row in range(first):
        members[n + row] = members.pop(int(tree[row, 0])) + members.pop(int(tree[row, 1]))
    order: list[int] = []
    stack = [2 * n - 2]
    while stack:  # no recursion: a tree of 2048 filters may be a chain
        node = stack.pop()
        if node >= n + first:
            stack.extend((int(tree[node - n, 1]), int(tree[node - n, 0])))
        else:
            order.append(node)
    x, y = {node: float(i) for i, node in enumerate(order)}, dict.fromkeys(order, 0.0)
    joints = np.zeros((n - 1 - first, 6))
    for row in range(first, n - 1):
        (left, right), height = sorted((int(c) for c in tree[row, :2]), key=lambda c: x[c]), float(tree[row, 2])
        joints[row - first] = x[left], x[right], y[left], y[right], height, n - row
        x[n + row], y[n + row] = (x[left] + x[right]) / 2, height
    return Dendrogram(tuple(np.array(sorted(members[node])) for node in order), joints)
