"""Maps: PCA against scikit-learn, UMAP by its promises, trustworthiness against scikit-learn."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from sklearn import manifold
from sklearn.decomposition import PCA

from pdc_core.analysis.maps import pca_map, pca_share, trustworthiness, umap_map
from pdc_core.errors import PDCError


def _vectors(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)) * np.arange(1, d + 1)


@pytest.mark.parametrize(("n", "d"), [(16, 144), (64, 9), (3, 50), (40, 2)])
def test_pca_agrees_with_scikit_learn_up_to_sign(n: int, d: int) -> None:
    vectors = _vectors(n, d)
    oracle = PCA(n_components=2).fit(vectors)
    assert np.allclose(np.abs(pca_map(vectors)), np.abs(oracle.transform(vectors)), atol=1e-9)
    assert np.allclose(pca_share(vectors), oracle.explained_variance_ratio_)


def test_pca_does_not_flip_when_filters_are_permuted() -> None:
    vectors = _vectors(20, 12)
    order = np.random.default_rng(1).permutation(20)
    assert np.allclose(pca_map(vectors)[order], pca_map(vectors[order]), atol=1e-9)


@pytest.mark.parametrize(("n", "d"), [(1, 9), (2, 9), (5, 1), (1, 1)])
def test_maps_of_few_filters_and_few_weights_have_two_coordinates(n: int, d: int) -> None:
    for points in (pca_map(_vectors(n, d)), umap_map(_vectors(min(n, 3), d))):
        assert points.shape[1] == 2
        assert np.isfinite(points).all()


@pytest.mark.parametrize("n", [4, 15, 16, 40])
def test_umap_is_finite_and_repeats_with_the_seed(n: int) -> None:
    vectors, threads = _vectors(n, 27), torch.get_num_threads()
    first = umap_map(vectors, seed=3)
    assert torch.get_num_threads() == threads, "later trainings in this process would round otherwise"
    assert first.shape == (n, 2)
    assert np.isfinite(first).all()
    assert np.array_equal(first, umap_map(vectors, seed=3))


def test_umap_of_identical_filters_is_finite() -> None:
    assert np.isfinite(umap_map(np.ones((8, 9)))).all()
    half = np.repeat(_vectors(2, 9), 6, axis=0)
    assert np.isfinite(umap_map(half)).all()


def test_umap_of_two_threads_gives_what_one_gives() -> None:
    vectors = _vectors(24, 18)
    alone = umap_map(vectors)
    together: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: together.append(umap_map(vectors))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert len(together) == 2
    assert all(np.array_equal(points, alone) for points in together)


def test_vectors_are_not_mutated() -> None:
    vectors = _vectors(12, 9)
    before = vectors.copy()
    pca_map(vectors), umap_map(vectors), trustworthiness(vectors, pca_map(vectors))
    assert np.array_equal(vectors, before)


@pytest.mark.parametrize("n", [4, 9, 16, 60])
def test_map_quality_agrees_with_scikit_learn(n: int) -> None:
    vectors, points = _vectors(n, 30), _vectors(n, 2, seed=1)
    m = min(5, (n - 1) // 2)
    assert trustworthiness(vectors, points) == pytest.approx(manifold.trustworthiness(vectors, points, n_neighbors=m))
    assert trustworthiness(vectors[:, :2], vectors[:, :2]) == 1.0


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((0, 4)), np.full((2, 2), np.nan)])
def test_vectors_that_cannot_be_mapped_are_refused_in_a_sentence(bad: np.ndarray) -> None:
    with pytest.raises(PDCError, match="A map needs"):
        pca_map(bad)


def test_a_map_of_other_vectors_is_refused() -> None:
    with pytest.raises(PDCError, match="needs 5 points"):
        trustworthiness(np.zeros((5, 3)), np.zeros((4, 2)))


@pytest.mark.parametrize("shape", [(530, 700), (700, 530)])
def test_large_groups_have_the_same_axes_as_a_whole_decomposition(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=shape) * np.geomspace(1, 0.01, shape[1])
    centred = vectors - vectors.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    points = pca_map(vectors)
    assert np.allclose(np.abs(points), np.abs(u[:, :2] * s[:2]), atol=1e-8)
    assert pca_share(vectors) == pytest.approx(tuple(s[:2] ** 2 / (s**2).sum()))
