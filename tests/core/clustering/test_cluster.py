"""Labels: exactly k clusters, none empty, the same for the same seed, and close to the best there is."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

import pdc_core as pdc
from pdc_core.clustering import ALGORITHMS, VECTORS, canonical, channel_covariances, cut_tree, kmeans, ward_linkage
from pdc_core.clustering.algorithms import assign_to_representatives, elimination_order
from pdc_core.clustering.kmeans import _without_empty, gram, gram_kmeans
from pdc_core.clustering.medoids import _swapped
from pdc_core.clustering.vectors import reader_kernels
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


def spread_around(vectors: np.ndarray, medoids: tuple[int, ...], weights: np.ndarray) -> float:
    """sum_i D_ii ||w_i - w_(m(a_i))||^2, naively."""
    return sum(d * min(((w - vectors[m]) ** 2).sum() for m in medoids) for w, d in zip(vectors, weights, strict=True))


def test_kmedoids_finds_the_best_of_all_medoids() -> None:
    random = np.random.default_rng(0)
    for _ in range(5):
        vectors, weights = random.normal(size=(9, 2)), random.uniform(0.1, 2, 9)
        best = min(combinations(range(9), 3), key=lambda m: spread_around(vectors, m, weights))
        expected = [min(best, key=lambda m: ((w - vectors[m]) ** 2).sum()) for w in vectors]
        assert np.array_equal(pdc.cluster(vectors, 3, weights, algorithm="kmedoids"), canonical(np.array(expected)))


@pytest.mark.parametrize("n", [12, 70, 300])
def test_no_swap_of_a_medoid_pays_at_the_end(n: int) -> None:
    random = np.random.default_rng(n)
    vectors, weights = random.normal(size=(n, 3)), random.uniform(0.1, 2, n)
    apart = ((vectors[:, None] - vectors[None]) ** 2).sum(2)
    start = random.choice(n, 5, replace=False)
    medoids = _swapped(apart, weights, start)
    loss = weights @ apart[:, medoids].min(1)
    assert loss < weights @ apart[:, start].min(1)
    for m, c in product(range(5), range(n)):
        other = medoids.copy()
        other[m] = c
        assert weights @ apart[:, other].min(1) >= loss * (1 - 1e-9)


@pytest.mark.parametrize(("n", "k", "d"), [(65, 9, 30), (130, 65, 400), (300, 150, 40), (520, 60, 300)])
def test_large_groups_end_as_well_as_scikit_learns_though_only_inner_products_are_read(n: int, k: int, d: int) -> None:
    from sklearn.cluster import KMeans

    random = np.random.default_rng(n)
    vectors = 5 + random.normal(size=(k, d))[np.arange(n) % k] + random.normal(size=(n, d))
    weights = random.uniform(0.1, 2, n)
    found = pdc.cluster(vectors, k, weights)
    assert len(set(found)) == k
    assert np.array_equal(found, pdc.cluster(vectors, k, weights))
    theirs = KMeans(k, n_init=3, random_state=0).fit(vectors, sample_weight=weights).labels_
    assert inertia(vectors, found, weights) <= 1.01 * inertia(vectors, theirs, weights)


@pytest.mark.parametrize("seed", range(5))
def test_k_means_stands_still_at_the_nearest_means_and_its_inertia_is_the_naive_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors, weights = random.normal(size=(90, 7)) * 10.0 ** random.integers(-3, 4), random.uniform(0.01, 3, 90)
    a = gram_kmeans(gram(vectors), 20, weights, seed)
    means = np.stack([np.average(vectors[a == j], axis=0, weights=weights[a == j]) for j in range(20)])
    apart = ((vectors[:, None] - means) ** 2).sum(-1)
    assert np.allclose(apart[np.arange(90), a], apart.min(1), rtol=1e-6)


@given(st.integers(0, 10_000), st.integers(2, 30), st.floats(1e-6, 1e6))
@settings(max_examples=40)
def test_far_and_near_points_of_any_scale_fill_every_cluster(seed: int, k: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    vectors = np.concatenate([random.normal(size=(66, 3)) * 1e-7 * scale, scale * (1 + random.normal(size=(5, 3)))])
    a = pdc.cluster(vectors, k, random.choice([1e-9, 1.0], 71), seed=seed)
    assert sorted(set(a)) == list(range(k))


def test_equal_rows_of_a_large_group_are_one_point() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(40, 9))
    pick = np.concatenate([np.arange(40), random.integers(0, 40, 60)])
    vectors = rows[pick]
    vectors[50] = np.where(vectors[50] == 0, -0.0, vectors[50])
    a = pdc.cluster(vectors, 25)
    assert all(len(set(a[pick == i])) == 1 for i in range(40))
    assert len(set(pdc.cluster(vectors, 70))) == 70, "equal rows are split where too few differ"


@pytest.mark.parametrize(("n", "starts"), [(65, 3), (256, 3), (257, 2), (1024, 2), (1025, 1)])
def test_k_means_of_a_larger_group_starts_less_often(n: int, starts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    began = []
    monkeypatch.setattr(kmeans, "_plus_plus", lambda far, k, d, random: began.append(k) or np.arange(k))
    pdc.cluster(np.random.default_rng(0).normal(size=(n, 2)), 3)
    assert began == [3] * starts


def test_many_equal_rows_leave_every_other_point_its_place() -> None:
    random = np.random.default_rng(2)
    centres = 100 * random.normal(size=(10, 6))
    truth = np.concatenate([np.zeros(60, dtype=int), np.repeat(np.arange(10), 6)])
    vectors = centres[truth] + np.concatenate([np.zeros((60, 6)), 0.01 * random.normal(size=(60, 6))])
    found = pdc.cluster(vectors, 10)  # 61 different rows of 120, most of them behind the equal ones
    assert np.array_equal(found, canonical(truth))


@pytest.mark.parametrize("seed", range(8))
def test_an_empty_cluster_gets_the_point_that_costs_most_of_a_larger_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    x, d, k = random.normal(size=(12, 3)), random.uniform(0.1, 2, 12), 6
    a = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 3, 3, 5])  # 2 and 4 are empty, 5 has one point only
    means = {j: np.average(x[a == j], axis=0, weights=d[a == j]) for j in set(a)}
    cost = np.array([d[i] * ((x[i] - means[a[i]]) ** 2).sum() for i in range(12)])
    expected = a.copy()
    for empty in (2, 4):
        left = [i for i in range(12) if (expected == expected[i]).sum() > 1]
        worst = max(left, key=lambda i: cost[i])
        expected[worst] = empty
    g = gram(x)
    assert np.array_equal(_without_empty(a, k, d, np.diag(g), g), expected)
    full = np.arange(12) % 6
    assert _without_empty(full, 6, d, np.diag(g), g) is full


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


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 14), d=st.integers(1, 20))
def test_ward_with_equal_weights_is_scipys(seed: int, n: int, d: int) -> None:
    from scipy.cluster import hierarchy

    vectors = np.random.default_rng(seed).normal(size=(n, d))
    tree, theirs = ward_linkage(vectors), hierarchy.linkage(vectors, "ward")
    assert np.allclose(tree, theirs)
    for k in range(1, n + 1):
        assert np.array_equal(cut_tree(tree, k), canonical(hierarchy.cut_tree(theirs, k)[:, 0].astype(np.int64)))


def test_in_ward_a_weight_is_a_number_of_equal_vectors() -> None:
    from scipy.cluster.hierarchy import linkage

    random = np.random.default_rng(0)
    vectors, times = random.normal(size=(9, 3)), random.integers(1, 4, 9)
    heights = linkage(np.repeat(vectors, times, axis=0), "ward")[:, 2]
    weighted = ward_linkage(vectors, times.astype(float))[:, 2] * times.max() ** 0.5  # weights are relative
    assert np.allclose(weighted, heights[times.sum() - len(vectors) :])


def test_heights_of_ward_add_up_to_the_inertia() -> None:
    random = np.random.default_rng(0)
    vectors, weights = random.normal(size=(12, 4)), random.uniform(0.1, 1, 12)
    weights /= weights.max()
    tree = ward_linkage(vectors, weights)
    for k in (1, 3, 7, 12):
        assert inertia(vectors, cut_tree(tree, k), weights) == pytest.approx(
            (tree[: 12 - k, 2] ** 2 / 2).sum(), abs=1e-12
        )


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_every_algorithm_finds_clusters_that_are_far_apart(algorithm: str) -> None:
    members = np.repeat([0, 1, 2, 3], 5)
    vectors = 10 * np.eye(4)[members] + 0.1 * np.random.default_rng(0).normal(size=(20, 4))
    assert np.array_equal(pdc.cluster(vectors, 4, algorithm=algorithm), members)
    vectors[members == 3] = vectors[members == 2]  # equal vectors: still k clusters, none empty
    assert sorted(set(pdc.cluster(np.round(vectors), 7, algorithm=algorithm))) == list(range(7))


def test_an_unknown_algorithm_or_vector_names_those_that_there_are() -> None:
    net, graph = traced()
    with pytest.raises(pdc.PDCError, match="kmeans, kmedoids, ward"):
        pdc.cluster(np.zeros((4, 2)), 2, algorithm="birch")
    with pytest.raises(pdc.PDCError, match="raw, scaled"):
        pdc.filter_vectors(net, graph.group("3"), "colour")


def traced() -> tuple[nn.Module, pdc.ChannelGraph]:
    net = lively_(chain())
    return net, pdc.trace(net, torch.zeros(1, 2, 6, 6))


def test_scaled_vectors_are_the_filters_that_the_norm_lets_through() -> None:
    """Oracle: without padding and bias, conv and norm together are one convolution; its response to a unit pulse."""
    net, graph = traced()
    w = pdc.filter_vectors(net, graph.group("3"), "scaled")
    conv = nn.Conv2d(6, 12, 3, bias=False, dtype=torch.float64)
    conv.weight.data = torch.from_numpy(w).reshape(12, 6, 3, 3)
    x = torch.randn(2, 6, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    both = nn.Sequential(net[3], net[4])
    inner = (both(x) - both(torch.zeros_like(x)))[:, :, 1:-1, 1:-1]
    assert torch.allclose(conv(x), inner, atol=1e-12)


def test_directions_have_length_one_and_do_not_see_the_size_of_a_filter() -> None:
    net, graph = traced()
    net[3].weight.data[5] = 0
    before = pdc.filter_vectors(net, graph.group("3"), "direction")
    lengths = np.linalg.norm(before, axis=1)
    assert np.allclose(lengths, np.where(np.arange(12) == 5, 0, 1))
    net[3].weight.data[2] *= 7
    assert np.allclose(before, pdc.filter_vectors(net, graph.group("3"), "direction"))


def test_in_out_vectors_hold_the_kernels_that_read_a_channel() -> None:
    net, graph = traced()
    vectors = pdc.filter_vectors(net, graph.group("3"), "in_out")
    w, v = net[3].weight.detach().flatten(1), net[8].weight.detach()
    v = torch.stack([v[:, 9 * i : 9 * i + 9].flatten() for i in range(12)])  # 3x3 pixels a channel after the flatten
    got_w, got_v = vectors[:, : w.shape[1]], vectors[:, w.shape[1] :]
    assert np.allclose(got_w, (w / w.norm()).numpy())
    assert np.allclose(np.sort(got_v, axis=1), np.sort((v / v.norm()).numpy(), axis=1))


def test_readers_of_a_grouped_convolution_are_taken_group_by_group() -> None:
    net = nn.Sequential(nn.Conv2d(2, 6, 1), nn.ReLU(), nn.Conv2d(6, 4, 1, groups=2, bias=False)).eval()
    group = pdc.trace(net, torch.zeros(1, 2, 4, 4)).group("0")
    v = net[2].weight.detach()[:, :, 0, 0]  # (4, 3): outputs 0, 1 read channels 0 to 2, outputs 2, 3 the others
    expected = np.array([[v[2 * (i // 3), i % 3], v[2 * (i // 3) + 1, i % 3]] for i in range(6)])
    assert np.allclose(reader_kernels(net, group), expected)


def test_distances_of_activation_vectors_are_those_of_the_activations() -> None:
    net, graph = traced()
    x = torch.randn(5, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for name, layers in (("3", net[:7]), ("0", net[:3])):
        vectors = pdc.filter_vectors(net, graph.group(name), "activations", x)
        seen = layers(x).detach().transpose(0, 1).flatten(1)
        assert np.allclose(vectors @ vectors.T, np.cov(seen.numpy(), bias=True), atol=1e-10)


def test_groups_that_nothing_reads_are_compared_by_their_weights_among_activations() -> None:
    model = pdc.load_model("resnet20", data="digits")
    graph = pdc.trace(model, torch.zeros(1, 1, 8, 8), residual="gather")
    images = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    plan = pdc.Plan.uniform(graph, 0.5)
    found, raw = (pdc.assign(model, graph, plan, vectors=kind, images=images) for kind in ("activations", "raw"))
    unread = [g.name for g in graph.clusterable if not g.readers]
    assert unread
    assert all(np.array_equal(found[name], raw[name]) for name in unread)
    assert any(not np.array_equal(found[name], raw[name]) for name in found)


def test_activations_without_images_say_what_to_give() -> None:
    net, graph = traced()
    with pytest.raises(pdc.PDCError, match="give images="):
        pdc.assign(net, graph, pdc.Plan.uniform(graph, 0.5), vectors="activations")


@pytest.mark.parametrize("vectors", list(VECTORS))
@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_every_pair_of_vectors_and_algorithm_gives_the_plans_counts(vectors: str, algorithm: str) -> None:
    net, graph = traced()
    plan, x = pdc.Plan.uniform(graph, 0.4), torch.ones(2, 2, 6, 6, dtype=torch.float64)
    labels = pdc.assign(net, graph, plan, vectors=vectors, algorithm=algorithm, images=x)
    assert {name: len(set(a)) for name, a in labels.items()} == plan.counts


def naive_loss(c: np.ndarray, h: np.ndarray, stays: list[int]) -> float:
    """tr(H E[(x - R x_S)(x - R x_S)^T]), written out."""
    own = c[np.ix_(stays, stays)]
    rest = c - c[:, stays] @ np.linalg.inv(own) @ c[stays]
    return float(np.trace(h @ rest))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 9))
def test_each_elimination_is_the_cheapest_of_all(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    x, v = random.normal(size=(n, 40)), random.normal(size=(n, 3))
    c, h = x @ x.T, v @ v.T
    a = np.r_[np.arange(2), random.integers(0, 2, n - 2)]
    left = list(range(n))
    for j in elimination_order(c, h, n - 2, a):
        allowed = [i for i in left if sum(a[o] == a[i] for o in left) > 1]
        costs = {i: naive_loss(c, h, [o for o in left if o != i]) for i in allowed}
        assert costs[j] == pytest.approx(min(costs.values()), rel=1e-3)
        left.remove(j)
    assert sorted(a[left]) == [0, 1]


def test_silent_channels_and_doubles_are_eliminated_first() -> None:
    x = np.random.default_rng(0).normal(size=(5, 100))
    x[1], x[4] = 0, 3 * x[2]
    gone = elimination_order(x @ x.T, np.eye(5), 2)
    assert gone[0] == 1
    assert gone[1] in (2, 4)
    assert assign_to_representatives(x @ x.T, np.array([0, 3, 4])).tolist()[2:] == [2, 1, 2]


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_the_order_of_elimination_does_not_depend_on_the_unit(scale: float) -> None:
    x = np.random.default_rng(0).normal(size=(6, 50))
    c = x @ x.T
    assert np.array_equal(elimination_order(scale * c, np.eye(6), 4), elimination_order(c, np.eye(6), 4))


def test_channels_that_are_all_silent_are_eliminated_from_the_first_on() -> None:
    assert elimination_order(np.zeros((4, 4)), np.eye(4), 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("seed", range(4))
def test_a_channel_joins_the_one_that_it_correlates_with_most(seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(8, 30)) * 10.0 ** np.arange(-4, 4)[:, None]
    stays, a = np.array([1, 4, 6]), np.array([0, 0, 1, 1, 1, 0, 0, 1])
    for own in (None, a):
        correlation = np.abs(np.corrcoef(x))
        allowed = [[j for j in range(3) if own is None or own[stays[j]] == own[i]] for i in range(8)]
        expected = [max(js, key=lambda j: correlation[i, stays[j]]) for i, js in enumerate(allowed)]
        assert assign_to_representatives(np.cov(x), stays, own).tolist() == expected


def test_the_moments_of_all_groups_come_from_one_pass_and_are_each_readers_own() -> None:
    class Read(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)
            self.calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.a(x)
            return self.b(y) + self.c(torch.relu(y))

    net = lively_(Read())
    x = torch.randn(300, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    group = pdc.trace(net, torch.zeros(1, 2, 3, 3)).group("a")
    measured = channel_covariances(net, [group], x)["a"]
    found = measured.covariances
    assert measured.covariance is found[0]
    seen = net.a(x).detach().transpose(0, 1).flatten(1)
    for c, values in zip(found, (seen, seen.relu()), strict=True):
        assert np.allclose(c, np.cov(values.numpy(), bias=True))
    assert not net.b._forward_pre_hooks
    with pytest.raises(pdc.PDCError, match="without images"):
        channel_covariances(net, [group], x[:0])
