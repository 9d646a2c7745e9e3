"""Reconstruction is t <- (1-s) t + s P t, with P written out as a matrix for an oracle."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import pdc_core as pdc
from pdc_core.clustering import canonical, channel_covariances
from pdc_core.reconstruct import (
    average_filters_,
    centroids,
    merge_filters_,
    progressive,
    summed_gradients,
    tie,
    tied,
    tying,
)
from pdc_core.reconstruct.merging import StepwiseTying, merge_
from pdc_core.reconstruct.reclustering import ReclusteredTying
from pdc_core.reconstruct.tying import TiedTying
from tests.networks import chain, lively_, random_labels

EXAMPLE = torch.zeros(1, 2, 6, 6)


def projector(a: np.ndarray, d: np.ndarray) -> Tensor:
    """P = M (M^T D M)^-1 M^T D, with matrices."""
    m = np.eye(a.max() + 1)[a]
    big_d = np.diag(d)
    return torch.from_numpy(m @ np.linalg.inv(m.T @ big_d @ m) @ m.T @ big_d)


def weighted(flat: Tensor, a: np.ndarray, weights: str) -> np.ndarray:
    """The diagonal of D, naively."""
    w, norms = flat.numpy(), flat.square().sum(1).numpy()
    if weights != "medoid":
        return norms if weights == "norm" else np.ones(len(w))
    d = np.zeros(len(w))
    for c in set(a):
        members = np.flatnonzero(a == c)
        cost = [sum(norms[j] * ((w[j] - w[i]) ** 2).sum() for j in members) for i in members]
        d[members[int(np.argmin(cost))]] = 1
    return d


@settings(max_examples=40, deadline=None)
@given(strength=st.floats(0, 1), seed=st.integers(0, 1000), weights=st.sampled_from(["norm", "uniform", "medoid"]))
def test_reconstruct_is_the_formula_for_every_tensor(strength: float, seed: int, weights: str) -> None:
    net = lively_(chain(), seed)
    graph = pdc.trace(net, EXAMPLE)
    labels = random_labels(graph, 0.5, seed)
    moved = pdc.reconstruct_(copy.deepcopy(net), graph, labels, strength, weights=weights)  # type: ignore[arg-type]
    for conv, norm, name in ((0, 1, "0"), (3, 4, "3")):
        flat = net[conv].weight.detach().flatten(1)
        p = projector(labels[name], weighted(flat, labels[name], weights))
        for module, key in (
            (conv, "weight"),
            (conv, "bias"),
            *((norm, k) for k in ("weight", "bias", "running_mean", "running_var")),
        ):
            t = (
                getattr(net[module], key).detach().flatten(1)
                if key == "weight" and module == conv
                else getattr(net[module], key).detach()
            )
            expected = (1 - strength) * t + strength * (p @ t)
            assert torch.allclose(getattr(moved[module], key).detach().reshape(t.shape), expected, atol=1e-12)


def test_at_full_strength_filters_of_a_cluster_are_identical_to_the_last_bit() -> None:
    net = lively_(chain()).float()
    graph = pdc.trace(net, EXAMPLE)
    labels = random_labels(graph, 0.3)
    pdc.reconstruct_(net, graph, labels)
    for c in range(labels["3"].max() + 1):
        rows = net[3].weight[torch.from_numpy(labels["3"] == c)]
        assert (rows == rows[0]).all()
    assert pdc.deviation(net, graph, labels) < 1e-6


def test_reconstructing_twice_changes_nothing_more() -> None:
    net = lively_(chain())
    graph = pdc.trace(net, EXAMPLE)
    labels = random_labels(graph, 0.5)
    once = copy.deepcopy(pdc.reconstruct_(net, graph, labels).state_dict())
    twice = pdc.reconstruct_(net, graph, labels).state_dict()
    assert all(torch.allclose(a, b, atol=1e-14) for a, b in zip(once.values(), twice.values(), strict=True))


def test_strength_zero_changes_nothing() -> None:
    net = lively_(chain())
    before = copy.deepcopy(net.state_dict())
    graph = pdc.trace(net, EXAMPLE)
    pdc.reconstruct_(net, graph, random_labels(graph, 0.5), strength=0.0)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values(), strict=True))


def test_deviation_is_the_share_of_the_filters_that_their_centroids_miss() -> None:
    net = lively_(chain())
    graph = pdc.trace(net, EXAMPLE)
    labels = {"3": random_labels(graph, 0.5)["3"]}
    w = net[3].weight.detach().flatten(1)
    away = w - projector(labels["3"], w.square().sum(1).numpy()) @ w
    assert pdc.deviation(net, graph, labels) == pytest.approx(float(away.norm() / w.norm()))


def test_a_cluster_without_weight_counts_as_uniform() -> None:
    t = torch.tensor([[1.0], [3.0], [8.0]], dtype=torch.float64)
    a, d = torch.tensor([0, 0, 1]), torch.tensor([0.0, 0.0, 2.0], dtype=torch.float64)
    assert centroids(t, a, 2, d).tolist() == [[2.0], [8.0]]


def test_tied_to_a_medoid_every_filter_is_one_that_was_there_to_the_last_bit() -> None:
    net = lively_(chain())
    graph = pdc.trace(net, EXAMPLE)
    labels = {"0": np.array([0, 0, 0, 1, 1, 1])}
    before = net[0].weight.detach().clone()
    pdc.reconstruct_(net, graph, labels, weights="medoid")
    after = net[0].weight.detach()
    assert len(torch.unique(after.flatten(1), dim=0)) == 2
    assert all(any(torch.equal(w, old) for old in before) for w in after)
    with pytest.raises(ValueError, match="gradients summed"):
        pdc.Training(centroid="medoid", tied_gradients="averaged")


def test_several_producers_share_one_projector() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.read = nn.Conv2d(2, 4, 1), nn.Conv2d(2, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.read(self.a(x) + self.b(x))

    net = lively_(Sum())
    graph = pdc.trace(net, EXAMPLE, residual="shared")
    labels = np.array([0, 0, 1, 1])
    d = sum(getattr(net, n).weight.detach().flatten(1).square().sum(1).numpy() for n in "ab")
    p = projector(labels, d)
    moved = pdc.reconstruct_(copy.deepcopy(net), graph, {graph.clusterable[0].name: labels})
    for name in "ab":
        assert torch.allclose(getattr(moved, name).weight.flatten(1), p @ getattr(net, name).weight.flatten(1))
        assert torch.allclose(getattr(moved, name).bias, p @ getattr(net, name).bias)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_outside_0_to_1_is_refused(strength: float) -> None:
    net = lively_(chain())
    graph = pdc.trace(net, EXAMPLE)
    with pytest.raises(pdc.PDCError, match="allowed are 0"):
        pdc.reconstruct_(net, graph, random_labels(graph, 0.5), strength)


def test_unknown_weights_are_refused() -> None:
    net = lively_(chain())
    graph = pdc.trace(net, EXAMPLE)
    with pytest.raises(pdc.PDCError, match="'norm'"):
        pdc.reconstruct_(net, graph, random_labels(graph, 0.5), weights="size")  # type: ignore[arg-type]


@pytest.mark.parametrize("schedule", [progressive, tied])
def test_strength_never_falls_and_ends_at_one(schedule: Callable[[float, float], float]) -> None:
    strengths = [schedule(p, 0.5) for p in np.linspace(0, 1, 50)]
    assert all(b >= a for a, b in itertools.pairwise(strengths))
    assert all(s == 1.0 for s in strengths[25:])


def test_progressive_strength_rises_as_a_cube() -> None:
    assert progressive(0.25, 0.5) == pytest.approx(0.125)


def folded_copy(net: nn.Module, graph: pdc.ChannelGraph, labels: dict[str, np.ndarray]) -> nn.Module:
    return pdc.fold(copy.deepcopy(net), graph, labels).train()


@pytest.mark.parametrize("optimiser", [{"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}, {}])
def test_with_summed_gradients_the_tied_network_trains_as_the_folded_one(optimiser: dict) -> None:
    net = lively_(chain())
    graph = pdc.trace(net, EXAMPLE)
    labels = random_labels(graph, 0.5)
    pdc.reconstruct_(net, graph, labels)
    small = folded_copy(net, graph, labels)
    ties, gradients = tie(net, graph, labels), summed_gradients(net, graph, labels)
    x = torch.randn(8, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pair = [(m.train(), torch.optim.SGD(m.parameters(), lr=0.05, **optimiser)) for m in (net, small)]
    for _ in range(3):
        for model, sgd in pair:
            sgd.zero_grad()
            model(x).square().mean().backward()
            if model is net:
                for each in gradients:
                    each.apply_(1.0)
            sgd.step()
        for each in ties:
            each.apply_(1.0)
    again = folded_copy(net, graph, labels)
    for a, b in zip(again.parameters(), small.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-12)


def test_gradients_of_filters_change_by_the_strength_and_not_at_all_at_zero() -> None:
    net = lively_(chain())
    graph = pdc.trace(net, EXAMPLE)
    labels = {"3": random_labels(graph, 0.5)["3"]}
    net(torch.ones(2, 2, 6, 6, dtype=torch.float64)).square().mean().backward()
    grads = {}
    for s in (0.0, 0.25, 1.0):
        own = copy.deepcopy(net)
        for p, q in zip(own.parameters(), net.parameters(), strict=True):
            p.grad = q.grad.clone()
        for each in summed_gradients(own, graph, labels):
            each.apply_(s)
        grads[s] = own[3].weight.grad
    assert torch.equal(grads[0.0], net[3].weight.grad)
    assert torch.allclose(grads[0.25], 0.75 * grads[0.0] + 0.25 * grads[1.0], atol=1e-12)
    assert not torch.allclose(grads[0.0], grads[1.0])


def grouped() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3, groups=2), nn.ReLU())


@pytest.mark.parametrize("make", [chain, grouped])
def test_merging_around_representatives_ties_and_folds_exactly(make) -> None:
    net = lively_(make())
    graph = pdc.trace(net, EXAMPLE)
    labels = random_labels(graph, 0.5)
    x = torch.randn(40, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for name, drawn in labels.items():
        group, a = graph.group(name), canonical(drawn)
        own, first = merge_filters_(net, group, channel_covariances(net, [group], x)[name], a, a.max() + 1)
        assert np.array_equal(own, a)
        assert np.array_equal(a[first], np.arange(a.max() + 1))
    small = pdc.fold(net, graph, labels)
    assert pdc.check_equal(net, small, x).equal


def test_readers_are_solved_by_least_squares_on_what_they_read() -> None:
    net = lively_(chain())
    graph = pdc.trace(net, EXAMPLE)
    group = graph.group("0")
    a = np.array([0, 0, 1, 1, 2, 2])
    x = torch.randn(40, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    seen = net[:3](x).detach().transpose(0, 1).flatten(1).numpy()  # (6, pixels)
    v = net[3].weight.detach().numpy().copy()  # (12, 6, 3, 3)
    _, stays = merge_filters_(net, group, channel_covariances(net, [group], x)["0"], a, 3)
    centred = seen - seen.mean(axis=1, keepdims=True)
    r = np.linalg.lstsq(centred[stays].T, centred.T, rcond=None)[0].T  # (6, 3)
    expected = np.einsum("oiyx,ij->ojyx", v, r)
    folded = pdc.fold(net, graph, {"0": a})[3].weight.detach().numpy()
    assert np.allclose(folded, expected, atol=1e-5)


def test_each_group_of_a_grouped_reader_is_solved_on_the_channels_that_it_reads() -> None:
    net = lively_(grouped())
    graph = pdc.trace(net, EXAMPLE)
    group, a = graph.group("0"), np.array([0, 0, 1, 1, 2, 2, 3, 3])
    x = torch.randn(40, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    seen = net[:3](x).detach().transpose(0, 1).flatten(1).numpy()  # (8, pixels)
    v = net[3].weight.detach().numpy().copy()  # (6, 4, 3, 3)
    _, stays = merge_filters_(net, group, channel_covariances(net, [group], x)["0"], a, 4)
    folded = pdc.fold(net, graph, {"0": a})[3].weight.detach().numpy()  # (6, 2, 3, 3)
    centred = seen - seen.mean(axis=1, keepdims=True)
    for half in (0, 1):
        own = centred[4 * half : 4 * half + 4]
        r = np.linalg.lstsq(own[stays[2 * half : 2 * half + 2] - 4 * half].T, own.T, rcond=None)[0].T  # (4, 2)
        rows = slice(3 * half, 3 * half + 3)
        assert np.allclose(folded[rows], np.einsum("oiyx,ij->ojyx", v[rows], r), atol=1e-5)


def test_a_filter_that_no_reader_weighs_is_the_first_to_go() -> None:
    net = lively_(nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.Conv2d(4, 3, 1)))
    net[2].weight.data[:, 2] = 0
    group = pdc.trace(net, EXAMPLE).group("0")
    x = torch.randn(20, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    _, stays = merge_filters_(net, group, channel_covariances(net, [group], x)["0"], np.zeros(4, dtype=int), 3)
    assert sorted(stays) == [0, 1, 3]


def test_a_group_that_has_nothing_to_merge_yet_does_not_keep_others_from_it() -> None:
    net = lively_(chain())
    graph = pdc.trace(net, EXAMPLE)
    final = {"0": np.array([0, 0, 1, 2, 3, 4]), "3": np.arange(12) // 4}  # 6 to 5 and 12 to 3
    now = {name: np.arange(len(a)) for name, a in final.items()}
    x = torch.randn(20, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    merged = merge_(net, graph, final, now, x, share=0.3)
    assert [len(set(merged[name])) for name in ("0", "3")] == [6, round(12 * (3 / 12) ** 0.3)]


def test_a_training_that_ends_early_makes_its_last_merge_with_readers_refitted() -> None:
    net = lively_(chain())
    graph = pdc.trace(net, EXAMPLE)
    x = torch.randn(20, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    merging = StepwiseTying(net, graph, random_labels(graph, 0.5), pdc.Training(merges=3), x)
    merging.begin()
    assert not merging.settled
    naive = copy.deepcopy(net)
    now = merge_(naive, graph, merging.final, merging.now, x)
    merging.settle_()
    assert merging.settled
    assert all(np.array_equal(now[name], a) for name, a in merging.final.items())
    for (name, t), expected in zip(net.state_dict().items(), naive.state_dict().values(), strict=True):
        assert torch.allclose(t, expected, atol=1e-12), name
    net[0].weight.data += 0.1 * torch.rand(net[0].weight.shape, generator=torch.Generator().manual_seed(0)).double()
    merging.settle_()
    assert merging.deviation() < 1e-12, "what has come apart since is tied once more"


def test_running_statistics_are_those_of_the_merged_network_and_frozen_ones_are_only_merged() -> None:
    """Evaluated right after a merge, the network answers as with norms that have seen what they now read."""
    net = lively_(chain()).train()
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    frozen = norms[-1].eval()
    graph = pdc.trace(copy.deepcopy(net).eval(), EXAMPLE)
    x = torch.randn(20, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    merging = StepwiseTying(net, graph, random_labels(graph, 0.5), pdc.Training(merges=2), x)
    modes = [module.training for module in net.modules()]
    naive = copy.deepcopy(net)
    merge_(naive, graph, merging.final, merging.now, x, share=0.5)
    merging.begin()
    seen: dict[nn.Module, torch.Tensor] = {}
    hooks = [n.register_forward_pre_hook(lambda module, args: seen.update({module: args[0]})) for n in norms[:-1]]
    for norm in norms[:-1]:
        norm.momentum = 0.0  # look, and leave the statistics as they are
    net(x)
    for hook in hooks:
        hook.remove()
    for norm in norms[:-1]:
        assert torch.allclose(norm.running_mean, seen[norm].mean((0, 2, 3)), atol=1e-10)
        assert torch.allclose(norm.running_var, seen[norm].transpose(0, 1).flatten(1).var(dim=1), atol=1e-10)
    alone = [module for module in naive.modules() if isinstance(module, nn.BatchNorm2d)]
    assert torch.equal(frozen.running_mean, alone[-1].running_mean)
    assert not torch.allclose(norms[0].running_mean, alone[0].running_mean)
    assert [module.training for module in net.modules()] == modes


def test_momentum_that_the_first_step_makes_is_tied_by_that_step() -> None:
    net = lively_(chain())
    graph, a = pdc.trace(net, EXAMPLE), np.array([0, 0, 1, 1, 2, 2])
    tied_from_the_first = TiedTying(net, graph, {"0": a}, pdc.Training(schedule="tied"))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    tied_from_the_first.optimizers = (optimizer,)
    tied_from_the_first.begin()
    net(torch.ones(2, 2, 6, 6, dtype=torch.float64)).square().mean().backward()
    tied_from_the_first.before_step()
    optimizer.step()
    tied_from_the_first.after_step(0.1)
    for p in net[0].parameters():
        kept = optimizer.state[p]["momentum_buffer"]
        assert kept.any()
        assert torch.equal(kept[0::2], kept[1::2])


@pytest.mark.parametrize(("progress", "asked"), [(0.0, 1), (0.29, 1), (0.3, 0), (0.31, 0)])
def test_filters_change_clusters_until_the_share_of_the_run_that_the_settings_name(progress: float, asked: int) -> None:
    net = lively_(chain()).train()
    graph = pdc.trace(copy.deepcopy(net).eval(), EXAMPLE)
    modes: list[bool] = []

    def cluster(model: nn.Module) -> dict[str, np.ndarray]:
        modes.append(model.training)
        return random_labels(graph, 0.5, seed=1)

    changing = ReclusteredTying(net, graph, random_labels(graph, 0.5), pdc.Training(recluster_until=0.3), cluster)
    changing.recluster(progress)
    assert modes == [False] * asked, "it is clustered in eval mode"
    assert net.training
    assert np.array_equal(changing.labels["3"], random_labels(graph, 0.5, seed=asked)["3"])


def test_in_another_process_labels_and_weights_become_those_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    first, here = lively_(chain(), 1), lively_(chain(), 2)
    theirs = {"3": np.arange(12) // 2}
    values = iter([*first.parameters(), *first.buffers()])

    def broadcast(t: Tensor, src: int) -> None:
        assert src == 0
        t.copy_(next(values).data)

    def broadcast_object_list(objects: list, src: int) -> None:
        assert src == 0
        objects[:] = [theirs]

    several = {"is_available": lambda: True, "is_initialized": lambda: True, "get_world_size": lambda: 2}
    monkeypatch.setattr(
        tying, "dist", SimpleNamespace(broadcast=broadcast, broadcast_object_list=broadcast_object_list, **several)
    )
    assert tying.share_(here, {"3": np.arange(12) // 3}) is theirs
    assert all(map(torch.equal, here.state_dict().values(), first.state_dict().values()))


def test_channels_of_one_half_of_a_concatenation_are_tied_alone() -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(2, 4, 1), nn.Conv2d(2, 4, 1)
            self.norm, self.read = nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.read(self.norm(torch.cat([self.a(x), self.b(x)], dim=1)))

    net = lively_(Halves())
    graph, labels = pdc.trace(net, EXAMPLE), np.array([0, 0, 1, 1])
    p = projector(labels, net.b.weight.detach().flatten(1).square().sum(1).numpy())
    moved = pdc.reconstruct_(copy.deepcopy(net), graph, {"b": labels})
    for name in ("weight", "bias", "running_mean", "running_var"):
        was, found = getattr(net.norm, name).detach(), getattr(moved.norm, name).detach()
        assert torch.equal(found[:4], was[:4])
        assert torch.allclose(found[4:], p @ was[4:])


def test_a_filter_that_others_make_up_costs_nothing() -> None:
    net = lively_(nn.Sequential(nn.Conv2d(2, 4, 1, bias=False), nn.Conv2d(4, 3, 1)))
    w = net[0].weight.data
    w[3] = 2 * w[0] - w[1]
    w[2] = 0.5 * w[0]
    graph = pdc.trace(net, EXAMPLE)
    x = torch.randn(20, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before, group = net(x), graph.group("0")
    now, _ = merge_filters_(net, group, channel_covariances(net, [group], x)["0"], np.array([0, 1, 0, 1]), 2)
    assert now.max() == 1
    assert torch.allclose(net(x), before, atol=1e-3)  # the ridge of the inverse is all that is left


def test_merging_in_two_goes_ends_in_the_same_clusters() -> None:
    net = lively_(chain())
    graph = pdc.trace(net, EXAMPLE)
    group, a = graph.group("3"), np.array([0, 1, 2] * 4)
    x = torch.randn(40, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    now, first = merge_filters_(net, group, channel_covariances(net, [group], x)["3"], a, 7)
    assert now.max() + 1 == 7
    assert all(len(set(a[now == c])) == 1 for c in range(7))
    net[3].weight.data.mul_(1.1)  # something is learnt in between, and tied filters stay tied
    now, first = merge_filters_(net, group, channel_covariances(net, [group], x)["3"], a, 3, now)
    assert np.array_equal(now, a)
    assert np.array_equal(a[first], [0, 1, 2])
    assert pdc.check_equal(net, pdc.fold(net, graph, {"3": a}), x).equal


@pytest.mark.parametrize("k", [8, 12, 4])
def test_filters_that_no_reader_reads_alone_become_the_mean_of_the_nearest_within_their_cluster(k: int) -> None:
    net = pdc.load_model("resnet20")
    graph = pdc.trace(net, torch.zeros(1, 1, 8, 8), residual="gather")
    group = next(g for g in graph.clusterable if not g.readers)
    final, before = canonical(np.arange(16) % 4), copy.deepcopy(net)
    now = average_filters_(net, group, final, k)
    assert now.max() + 1 == k
    assert all(len(set(final[now == j])) == 1 for j in range(k)), "filters left their clusters"
    w, was = pdc.filter_vectors(net, group), pdc.filter_vectors(before, group)
    weight, near = (was**2).sum(1), ((was[:, None] - was) ** 2).sum(-1)
    for cluster in range(4):  # one of each now stayed, and the others joined the nearest that stayed in their cluster
        members = np.flatnonzero(final == cluster)
        parts = [members[now[members] == j] for j in sorted(set(now[members]))]
        assert any(
            all(near[i, r] <= min(near[i, list(stays)]) for part, r in zip(parts, stays, strict=True) for i in part)
            for stays in itertools.product(*parts)
        )
    for j in range(k):
        own = now == j
        assert np.allclose(w[own], np.average(was[own], axis=0, weights=weight[own]), atol=1e-6)
    if k > 4:  # a second merge begins at the first
        again = average_filters_(net, group, final, 4, now)
        assert np.array_equal(again, final)
