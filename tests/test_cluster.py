"""Labels: exactly k clusters, none empty, the same for the same seed, and close to the best there is."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

import pdc_core as pdc
from pdc_core.cluster import canonical
from tests.networks import chain, lively_


@settings(max_examples=60, deadline=None)
@given(
    vectors=arrays(
        np.float64, st.tuples(st.integers(1, 12), st.integers(1, 4)), elements=st.sampled_from([0.0, 1.0, -1.0, 2.5])
    ),
    data=st.data(),
)
def test_exactly_k_clusters_and_none_is_empty(vectors: np.ndarray, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(vectors)))
    weights = data.draw(arrays(np.float64, len(vectors), elements=st.sampled_from([0.0, 0.5, 3.0])))
    labels = pdc.cluster(vectors, k, weights)
    assert sorted(set(labels)) == list(range(k))
    assert np.array_equal(labels, canonical(labels))


def inertia(vectors: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """sum_i D_ii ||w_i - c_(a_i)||^2, naively."""
    total = 0.0
    for c in set(labels):
        w, d = vectors[labels == c], weights[labels == c]
        centre = (d[:, None] * w).sum(0) / d.sum()
        total += (d * ((w - centre) ** 2).sum(1)).sum()
    return total


def test_kmeans_finds_the_best_of_all_partitions() -> None:
    random = np.random.default_rng(0)
    for _ in range(5):
        vectors, weights = random.normal(size=(7, 2)), random.uniform(0.1, 2, 7)
        best = min(inertia(vectors, np.array(a), weights) for a in product(range(3), repeat=7) if len(set(a)) == 3)
        assert inertia(vectors, pdc.cluster(vectors, 3, weights), weights) == pytest.approx(best, rel=1e-9)


def test_weights_move_the_clusters() -> None:
    vectors = np.array([[0.0], [1.0], [1.9]])
    assert pdc.cluster(vectors, 2, np.array([100.0, 1.0, 1.0])).tolist() == [0, 1, 1]
    assert pdc.cluster(vectors, 2, np.array([0.01, 1.0, 1.0])).tolist() in ([0, 0, 1], [0, 1, 1])
    assert pdc.cluster(vectors, 2, np.array([1e-6, 1.0, 1.0])).tolist() == [0, 0, 1]


def test_vectors_longer_than_n_are_rotated_without_changing_the_clusters() -> None:
    centres = np.random.default_rng(0).normal(size=(3, 500))
    members = np.repeat([0, 1, 2], 4)
    vectors = centres[members] + 0.01 * np.random.default_rng(1).normal(size=(12, 500))
    assert np.array_equal(pdc.cluster(vectors, 3), members)


def test_the_same_seed_gives_the_same_labels() -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 6))
    assert np.array_equal(pdc.cluster(vectors, 7, seed=3), pdc.cluster(vectors, 7, seed=3))


def test_all_filters_kept_is_the_identity_and_one_cluster_holds_all() -> None:
    vectors = np.random.default_rng(0).normal(size=(9, 2))
    assert pdc.cluster(vectors, 9).tolist() == list(range(9))
    assert pdc.cluster(vectors, 1).tolist() == [0] * 9


@pytest.mark.parametrize("k", [0, -1, 10])
def test_k_out_of_range_says_what_is_allowed(k: int) -> None:
    with pytest.raises(pdc.PDCError, match=rf"k={k} .* allowed are 1 to 9"):
        pdc.cluster(np.zeros((9, 2)), k)


def test_assign_gives_every_group_its_count() -> None:
    net = lively_(chain())
    graph = pdc.trace(net, torch.zeros(1, 2, 6, 6))
    seen = []
    labels = pdc.assign(net, graph, pdc.Plan.uniform(graph, 0.5), progress=lambda done, all_: seen.append((done, all_)))
    assert {name: len(set(a)) for name, a in labels.items()} == pdc.Plan.uniform(graph, 0.5).counts
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_weights_that_are_not_finite_are_refused_with_the_group() -> None:
    net = lively_(chain())
    net[3].weight.data[2, 0, 0, 0] = float("nan")
    graph = pdc.trace(net, torch.zeros(1, 2, 6, 6))
    with pytest.raises(pdc.PDCError, match=r"1 of 12 filters of '3' .* not finite"):
        pdc.assign(net, graph, pdc.Plan.uniform(graph, 0.5))


def test_filter_vectors_are_the_flattened_kernels_and_weights_their_squared_norms() -> None:
    net = lively_(chain())
    graph = pdc.trace(net, torch.zeros(1, 2, 6, 6))
    vectors = pdc.filter_vectors(net, graph.group("3"))
    assert np.array_equal(vectors, net[3].weight.detach().flatten(1).numpy())
    assert np.allclose(
        pdc.filter_weights(net, graph.group("3")), net[3].weight.detach().square().sum(dim=(1, 2, 3)).numpy()
    )


def test_a_depthwise_kernel_is_part_of_the_filter_vector() -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 2, 1)).eval()
    group = pdc.trace(net, torch.zeros(1, 2, 6, 6)).group("0")
    assert pdc.filter_vectors(net, group).shape == (4, 2 + 9)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"0": np.zeros(5, dtype=int)}, "expected 6 integers"),
        ({"0": np.zeros(6)}, "expected 6 integers"),
        ({"nowhere": np.zeros(6, dtype=int)}, "no channel group 'nowhere'"),
        ({"10": np.zeros(3, dtype=int)}, "frozen"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: dict[str, np.ndarray], said: str) -> None:
    net = lively_(chain())
    graph = pdc.trace(net, torch.zeros(1, 2, 6, 6))
    with pytest.raises(pdc.PDCError, match=said):
        pdc.check_labels(graph, labels)
