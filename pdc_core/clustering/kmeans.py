"""Weighted k-means: scikit-learn's for small groups, and on inner products alone where filters are many.

Every distance that k-means asks for follows from the Gram matrix G of n points, so that an iteration costs n^2 + n k
however long the filters are; scikit-learn's costs n k times their length.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
import torch

from pdc_core.clustering.labels import FloatArray, IntArray

SMALL = 64  # points up to which scikit-learn is as fast
GRAM_MOST = 8192  # points up to which their Gram matrix is made: 512 MiB
KEPT = 128  # points from which the last Gram matrix is kept for the next number of clusters
_ITERATIONS = 300


def kmeans(points: FloatArray, k: int, d: FloatArray, seed: int) -> IntArray:
    """Weighted k-means from greedy k-means++, the best of a few starts: fewer, the larger the group.

    Ten starts up to 64 points, three up to 256, two up to 1,024, and one above.

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

    Source: Lloyd 1982; Arthur and Vassilvitskii 2007.
    """
    n = len(points)
    if SMALL < n <= GRAM_MOST:
        return gram_kmeans(gram(points), k, d, seed, starts=3 if n <= 256 else 2 if n <= 1024 else 1)
    from sklearn.cluster import KMeans

    model = KMeans(n_clusters=k, n_init=10 if n <= SMALL else 1, random_state=seed)
    return model.fit(points, sample_weight=d).labels_.astype(np.int64)


def gram(points: FloatArray) -> FloatArray:
    """Return the inner products of points around their mean.

    Parameters
    ----------
    points : array of float, shape (n, d)
        The points.

    Returns
    -------
    array of float64, shape (n, n)
        G_ij = (w_i - m) . (w_j - m).
    """
    points = np.ascontiguousarray(points, dtype=np.float64)
    return _kept(_Content(points)) if len(points) >= KEPT else _products(points)


def _products(points: FloatArray) -> FloatArray:
    centred = torch.from_numpy(points - points.mean(axis=0))
    products: FloatArray = (centred @ centred.T).numpy()
    return products


class _Content:
    """Points that are equal if their bytes are."""

    def __init__(self, points: FloatArray) -> None:
        self.points = points
        self.digest = (points.shape, hashlib.blake2b(points.data).digest())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Content) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


@lru_cache(maxsize=1)
def _kept(content: _Content) -> FloatArray:
    """Return the products of `_products`; who moves a slider asks for the same group again."""
    products = _products(content.points)
    products.setflags(write=False)
    return products


def gram_kmeans(g: FloatArray, k: int, d: FloatArray, seed: int, starts: int = 1) -> IntArray:
    """Minimise sum_i D_ii ||w_i - c_(a_i)||^2 with c_j the weighted means, given the points' inner products.

    Parameters
    ----------
    g : array of float64, shape (n, n)
        Inner products; only differences of points count, so around any origin.
    k : int
        Clusters, 2 to n - 1; none is empty.
    d : array of float, shape (n,)
        The diagonal of D, above 0.
    seed : int
        Seed of the starts.
    starts : int, default 1
        How often to begin; the best end is returned.

    Returns
    -------
    array of int64, shape (n,)
        Labels 0..k-1.

    Examples
    --------
    >>> x = np.array([[0.0], [5.0], [0.1], [5.2]])
    >>> a = gram_kmeans(x @ x.T, 2, np.ones(4), seed=0)
    >>> bool(a[0] == a[2] != a[1] == a[3])
    True

    Source: Lloyd's iteration in the feature space of a kernel (Dhillon, Guan and Kulis 2004), here the linear one.
    """
    random = np.random.RandomState(seed)
    size = np.diag(g)
    far = np.maximum(size[:, None] - 2 * g + size, 0)  # squared distances
    ends = [_lloyd(g, far[:, _plus_plus(far, k, d, random)].argmin(axis=1), k, d) for _ in range(starts)]
    return min(ends, key=lambda end: end[1])[0]


def _plus_plus(far: FloatArray, k: int, d: FloatArray, random: np.random.RandomState) -> IntArray:
    """Return k different points by greedy k-means++: each the best of a few drawn by D times their squared distance."""
    trials = 2 + int(np.log(k))
    chosen = [int(random.choice(len(d), p=d / d.sum()))]
    nearest = far[chosen[0]]
    for _ in range(k - 1):
        reached = np.cumsum(d * nearest)
        drawn = np.searchsorted(reached, random.random_sample(trials) * reached[-1])
        drawn = np.minimum(drawn, len(d) - 1)
        after = np.minimum(nearest, far[drawn])
        best = int((after @ d).argmin())
        chosen.append(int(drawn[best]))
        nearest = after[best]
    return np.array(chosen)


def _lloyd(g: FloatArray, a: IntArray, k: int, d: FloatArray) -> tuple[IntArray, float]:
    """Return the labels at which Lloyd's iteration from `a` stands still, and their inertia."""
    n = len(d)
    every, size = np.arange(n), np.diag(g)
    weighted, least = g * d, 1e-12 * float(size.max())  # what is nearer by less is rounding
    for _ in range(_ITERATIONS):
        a = _without_empty(a, k, d, size, g)
        order = np.argsort(a, kind="stable")
        first = np.searchsorted(a[order], np.arange(k))
        mass = np.add.reduceat(d[order], first)
        to_mean = np.add.reduceat(weighted[:, order], first, axis=1) / mass  # (n, k): w_i . c_j
        norm = np.bincount(a, d * to_mean[every, a], k) / mass  # ||c_j||^2
        away = norm - 2 * to_mean  # the squared distance less ||w_i||^2
        nearest = away.argmin(axis=1)
        inertia = float(d @ (size + away[every, a]))
        moved = away[every, a] - away[every, nearest] > least
        if not moved.any():
            break
        a = np.where(moved, nearest, a)
    return a, inertia


def _without_empty(a: IntArray, k: int, d: FloatArray, size: FloatArray, g: FloatArray) -> IntArray:
    """Return labels in which the point that costs most has left a larger cluster for each one that is empty."""
    counts = np.bincount(a, minlength=k)
    if counts.all():
        return a
    a = a.copy()
    member = np.zeros((len(a), k))
    member[np.arange(len(a)), a] = d
    member = member / np.maximum(member.sum(axis=0), np.finfo(float).tiny)
    to_mean = g @ member
    norm = (member * to_mean).sum(axis=0)
    cost = d * (size - 2 * to_mean[np.arange(len(a)), a] + norm[a])
    for empty in np.flatnonzero(counts == 0):
        i = int(np.where(counts[a] > 1, cost, -np.inf).argmax())
        counts[a[i]] -= 1
        counts[empty] += 1
        a[i] = empty
    return a
