"""Centroids and the spread they explain, against their definitions; distances against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from pdc_core.clustering import canonical, cluster, curve, cut_tree
from pdc_core.clustering.distances import squared_distances
from pdc_core.clustering.spread import cluster_means, spread_lost

RANDOM = np.random.default_rng(0)
W, A, D = RANDOM.normal(size=(12, 5)), canonical(RANDOM.integers(0, 4, 12)), RANDOM.uniform(0, 2, 12)


@pytest.mark.parametrize("weights", [D, None], ids=["weighted", "uniform"])
def test_means_and_spread_are_those_of_a_loop(weights: np.ndarray | None) -> None:
    d = np.ones(12) if weights is None else weights
    members = [np.flatnonzero(np.equal(A, c)) for c in range(A.max() + 1)]
    means = [np.average(W[own], axis=0, weights=d[own]) for own in members]
    np.testing.assert_allclose(cluster_means(W, A, weights), means, rtol=1e-12)
    lost = sum(d[i] * ((W[i] - means[A[i]]) ** 2).sum() for i in range(12))
    spread = sum(d[i] * ((W[i] - np.average(W, axis=0, weights=d)) ** 2).sum() for i in range(12))
    assert spread_lost(W, A, weights) == pytest.approx(lost / spread, rel=1e-12)


def test_a_cluster_without_weight_counts_as_uniform() -> None:
    means = cluster_means(np.array([[0.0], [2.0], [9.0]]), np.array([0, 0, 1]), np.array([0.0, 0.0, 3.0]))
    assert means.tolist() == [[1.0], [9.0]]


def test_arguments_that_cannot_be_written_to_are_read() -> None:
    w, a, d = W.copy(), A.copy(), D.copy()
    for array in (w, a, d):
        array.flags.writeable = False
    assert spread_lost(w, a, d) == spread_lost(W, A, D)


def test_spread_lost_is_that_of_the_curve_and_ends_at_one_and_zero() -> None:
    found = curve(W, D)
    for k in (1, 3, 7, 12):
        assert spread_lost(W, cut_tree(found.tree, k), D) == pytest.approx(found.lost[k - 1], abs=1e-9)
    assert spread_lost(W, cluster(W, 1), D) == 1.0
    assert spread_lost(W, cluster(W, 12), D) == 0.0
    assert spread_lost(np.ones((3, 2)), np.zeros(3, dtype=np.int64)) == 0.0


def test_squared_distances_are_scipys_and_zero_between_equal_vectors() -> None:
    x = np.concatenate([1000 + W, 1000 + W[:3]])
    apart = squared_distances(x)
    np.testing.assert_allclose(apart, cdist(x, x, "sqeuclidean"), atol=1e-6)
    assert (np.diag(apart) == 0).all()
    assert [apart[i, 12 + i] for i in range(3)] == [0, 0, 0]
    assert (apart >= 0).all()
    np.testing.assert_allclose(squared_distances(W), cdist(W, W, "sqeuclidean"), rtol=1e-9, atol=1e-13)
