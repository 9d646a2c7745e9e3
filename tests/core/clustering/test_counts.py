"""The curve of every k: what scikit-learn and a naive sum give one k at a time; the tree as SciPy lays it out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster import hierarchy
from sklearn.metrics import silhouette_score

from pdc_core.clustering import curve, cut_tree, dendrogram, suggest, ward_linkage
from pdc_core.clustering.counts import silhouette


@pytest.mark.parametrize(("n", "d", "seed"), [(3, 1, 0), (12, 2, 1), (40, 3, 2), (25, 90, 3)])
def test_inertia_and_silhouette_of_every_k_are_those_of_the_cut(n: int, d: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors, weights = random.normal(size=(n, d)), random.uniform(0.1, 1, n)
    weights /= weights.max()
    found = curve(vectors, weights)
    for k in range(1, n + 1):
        labels = cut_tree(found.tree, k)
        inertia = sum(
            (weights[a] * ((vectors[a] - np.average(vectors[a], axis=0, weights=weights[a])) ** 2).sum(axis=1)).sum()
            for a in (labels == c for c in range(k))
        )
        assert found.inertia[k - 1] == pytest.approx(inertia, abs=1e-9)
        if 1 < k < n:
            assert found.silhouette[k - 1] == pytest.approx(silhouette_score(vectors, labels), abs=1e-9)
            assert silhouette(vectors, labels) == pytest.approx(silhouette_score(vectors, labels), abs=1e-9)
    assert np.isnan(found.silhouette[0])
    assert np.isnan(silhouette(vectors, np.zeros(n, dtype=np.int64)))
    assert silhouette(vectors, np.arange(n)) == 0 or n == 1
    assert found.silhouette[-1] == 0
    assert found.lost[0] == 1


def test_a_curve_with_equal_filters_is_finite_and_loses_nothing_where_only_they_are_merged() -> None:
    vectors = np.repeat(np.random.default_rng(0).normal(size=(6, 100)), 3, axis=0)
    found = curve(vectors)
    assert np.isfinite(found.silhouette[1:]).all()
    assert found.lost[5:].max() < 1e-12
    assert found.silhouette[5] == pytest.approx(1)
    assert suggest(found).k == 6
    assert suggest(found).reason.startswith("Only 6 of the 18 filters differ")


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_equal_filters_are_found_in_any_unit(scale: float) -> None:
    vectors = scale * np.repeat(np.random.default_rng(0).normal(size=(6, 4)), 2, axis=0)
    assert suggest(curve(vectors)).k == 6


def test_filters_that_are_all_equal_or_only_one_have_a_curve() -> None:
    assert curve(np.ones((5, 2))).lost.tolist() == [0] * 5
    assert suggest(curve(np.ones((5, 2)))).k == 1
    assert np.isnan(curve(np.ones((1, 2))).silhouette).all()
    assert suggest(curve(np.ones((1, 2)))).k == 1


def test_clear_groups_are_suggested_by_their_silhouette() -> None:
    random = np.random.default_rng(0)
    vectors = np.repeat(10 * np.eye(5), 8, axis=0) + random.normal(size=(40, 5))
    suggestion = suggest(curve(vectors))
    assert suggestion.k == 5
    assert "fall into 5 groups" in suggestion.reason


def test_without_clear_groups_the_elbow_is_suggested_and_the_reason_says_so() -> None:
    found = curve(np.random.default_rng(0).normal(size=(64, 60)))
    suggestion = suggest(found)
    below = [1 - found.lost[k - 1] - (k - 1) / 63 for k in range(1, 65)]
    assert suggestion.k == 1 + int(np.argmax(below))
    assert "the curve bends most" in suggestion.reason


def test_a_dendrogram_has_scipys_legs() -> None:
    vectors = np.random.default_rng(3).normal(size=(17, 4))
    tree = ward_linkage(vectors)
    drawn, theirs = dendrogram(tree), hierarchy.dendrogram(tree, no_plot=True)
    assert sorted(drawn.joints[:, 4]) == pytest.approx(sorted(top[1] for top in theirs["dcoord"]))
    assert sorted(np.abs(drawn.joints[:, 1] - drawn.joints[:, 0])) == pytest.approx(
        sorted(abs(x[3] - x[0]) / 10 for x in theirs["icoord"])
    )
    assert [int(m[0]) for m in drawn.members] == theirs["leaves"]


@pytest.mark.parametrize("leaves", [2, 5, 17, 64])
def test_a_joint_names_the_clusters_that_keep_it_apart(leaves: int) -> None:
    tree = ward_linkage(np.random.default_rng(3).normal(size=(17, 4)))
    drawn = dendrogram(tree, leaves)
    assert sorted(np.concatenate(drawn.members)) == list(range(17))
    assert len(drawn.members) == min(leaves, 17)
    for left, right, _, _, height, k in drawn.joints:
        before, after = cut_tree(tree, int(k)), cut_tree(tree, int(k) - 1)
        a, b = (drawn.members[round(x)][0] for x in (left - 1e-9, right + 1e-9))
        assert after[a] == after[b]
        assert len(set(before)) == k
        assert height == pytest.approx(tree[17 - int(k), 2])


def test_a_chain_of_many_filters_is_laid_out_without_recursion() -> None:
    chain = np.cumsum(1.01 ** np.arange(1500))[:, None]
    assert len(dendrogram(ward_linkage(chain), 1500).members) == 1500
