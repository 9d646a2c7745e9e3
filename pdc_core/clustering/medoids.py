"""k-medoids: clusters around k of the vectors themselves, so that every centroid is a filter that was trained."""

from __future__ import annotations

import numpy as np

from pdc_core.clustering.labels import FloatArray, IntArray


def kmedoids(points: FloatArray, k: int, d: FloatArray, seed: int) -> IntArray:
    """Weighted k-medoids from k-means++: swap a medoid for another point as long as that lowers the sum.

    The sum is sum_i D_ii ||w_i - w_(m(a_i))||^2, with m the k members that clusters are drawn around. At the end no
    single swap lowers it.

    Parameters
    ----------
    points : array of float, shape (n, d)
        All different.
    k : int
        Clusters, 2 to n - 1.
    d : array of float, shape (n,)
        Weights, above 0.
    seed : int
        Seed of the starts.

    Returns
    -------
    array of int64, shape (n,)
        Labels.

    Source: Kaufman and Rousseeuw 1990; eager swaps with all k losses at once, Schubert and Rousseeuw, arXiv 2008.05171.
    """
    from scipy.spatial.distance import cdist
    from sklearn.cluster import kmeans_plusplus

    n, apart, random = len(points), cdist(points, points, "sqeuclidean"), np.random.RandomState(seed)
    found: list[tuple[float, IntArray]] = []
    for _ in range(10 if n <= 64 else 3 if n <= 256 else 1):  # as many starts as k-means makes
        _, start = kmeans_plusplus(points, k, sample_weight=d, random_state=random)
        medoids = _swapped(apart, d, np.asarray(start, dtype=np.int64))
        found.append((float(d @ apart[:, medoids].min(axis=1)), medoids))
    _, medoids = min(found, key=lambda each: each[0])
    return apart[:, medoids].argmin(axis=1)


def _swapped(apart: FloatArray, d: FloatArray, medoids: IntArray) -> IntArray:
    """Return the medoids after all swaps that lower the sum, each made as soon as it is found.

    If point c replaces medoid m, every point i of m's cluster joins c or its second nearest medoid, and every other one
    joins c if that is nearer: the loss changes by the cost of removing m, less the gain by c.
    """
    n, k, c, idle = len(apart), len(medoids), 0, 0
    medoids, taken = medoids.copy(), np.zeros(n, dtype=bool)
    taken[medoids] = True
    two, near = _two_nearest(apart[:, medoids])
    while idle < n:
        if not taken[c]:
            nearest, second = near.T
            removal = np.minimum(apart[c], second) - np.minimum(apart[c], nearest)
            change = np.bincount(two[:, 0], d * removal, minlength=k) - d @ np.maximum(nearest - apart[c], 0)
            m = int(change.argmin())
            if change[m] < -1e-12 * (d @ nearest):
                taken[medoids[m]], taken[c] = False, True
                medoids[m] = c
                others = (two == m).any(axis=1) | (apart[c] < second)  # whose two nearest are not what they were
                two[others], near[others] = _two_nearest(apart[np.ix_(others, medoids)])
                idle = 0
        c, idle = (c + 1) % n, idle + 1
    return medoids


def _two_nearest(to_medoids: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return every row's nearest medoid and the next, (n, 2), and the distances to them, (n, 2)."""
    two = np.argpartition(to_medoids, 1, axis=1)[:, :2]
    two = np.take_along_axis(two, np.take_along_axis(to_medoids, two, axis=1).argsort(axis=1), axis=1)
    return two, np.take_along_axis(to_medoids, two, axis=1)
