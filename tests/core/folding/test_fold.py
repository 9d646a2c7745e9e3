"""Folding is exact or refused: property by property, in float64, against the unfolded network."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import pdc_core as pdc
from pdc_core.folding.rewrite import FixedSize, Gather
from tests.networks import chain, counted_macs, lively_, parameters, random_labels, reconstructed_and_folded

X = torch.randn(5, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def net() -> nn.Module:
    return lively_(chain())


def test_folding_tied_filters_keeps_the_output(net: nn.Module) -> None:
    graph = pdc.trace(net, X[:1])
    tied, small = reconstructed_and_folded(net, graph, random_labels(graph, 0.5))
    check = pdc.check_equal(tied, small, X)
    assert check.relative < 1e-12
    assert check.equal
    assert parameters(small) < parameters(net)


@settings(max_examples=40, deadline=None)
@given(keep=st.floats(0.01, 1.0), seed=st.integers(0, 10_000), bias=st.booleans(), channels=st.integers(1, 9))
def test_any_labels_fold_exactly_and_cost_what_was_predicted(keep: float, seed: int, bias: bool, channels: int) -> None:
    net = lively_(chain(channels, bias), seed)
    graph = pdc.trace(net, X[:1])
    labels = random_labels(graph, keep, seed)
    tied, small = reconstructed_and_folded(net, graph, labels)
    assert pdc.check_equal(tied, small, X).equal
    predicted = pdc.plan_cost(graph, pdc.Plan.uniform(graph, keep))
    assert counted_macs(small, X) == predicted.macs == pdc.cost(small, X).macs
    assert parameters(small) == predicted.params == pdc.cost(small, X).params


def test_fold_equals_the_matrix_formula_on_one_layer() -> None:
    first, second = nn.Conv2d(2, 4, 3).double(), nn.Conv2d(4, 3, 1).double()
    net = nn.Sequential(first, nn.ReLU(), second).eval()
    graph = pdc.trace(net, X[:1])
    a = np.array([0, 1, 0, 1])
    tied, small = reconstructed_and_folded(net, graph, {"0": a})
    m = torch.from_numpy(np.eye(2)[a])  # one-hot M, (n, k)
    v = second.weight.detach()[:, :, 0, 0]  # (out, n)
    assert torch.allclose(small[2].weight[:, :, 0, 0], v @ m, atol=1e-15)
    assert torch.equal(small[0].weight, tied[0].weight[[0, 1]])


def test_untied_filters_are_refused(net: nn.Module) -> None:
    graph = pdc.trace(net, X[:1])
    with pytest.raises(pdc.PDCError, match=r"not identical.*reconstruct_"):
        pdc.fold(net, graph, random_labels(graph, 0.5))


@pytest.mark.parametrize("what", ["weight", "bias", "running_mean", "running_var"])
def test_an_untied_norm_alone_is_refused(net: nn.Module, what: str) -> None:
    graph = pdc.trace(net, X[:1])
    labels = random_labels(graph, 0.5)
    tied, _ = reconstructed_and_folded(net, graph, labels)
    with torch.no_grad():
        getattr(tied[1], what)[:] += torch.linspace(0, 0.1, 6)
    with pytest.raises(pdc.PDCError, match="not identical"):
        pdc.fold(tied, graph, labels)


def test_one_sgd_step_unties_and_is_refused(net: nn.Module) -> None:
    graph = pdc.trace(net, X[:1])
    labels = random_labels(graph, 0.5)
    tied, _ = reconstructed_and_folded(net, graph, labels)
    optimizer = torch.optim.SGD(tied.parameters(), lr=0.1)
    tied(X).square().sum().backward()
    optimizer.step()
    with pytest.raises(pdc.PDCError, match="not identical"):
        pdc.fold(tied, graph, labels)


def test_every_filter_its_own_cluster_is_the_identity(net: nn.Module) -> None:
    graph = pdc.trace(net, X[:1])
    tied, small = reconstructed_and_folded(net, graph, random_labels(graph, 1.0))
    for a, b, c in zip(net.state_dict().values(), tied.state_dict().values(), small.state_dict().values(), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_one_cluster_per_group_works(net: nn.Module) -> None:
    graph = pdc.trace(net, X[:1])
    labels = {g.name: np.zeros(g.size, dtype=np.int64) for g in graph.clusterable}
    tied, small = reconstructed_and_folded(net, graph, labels)
    assert pdc.check_equal(tied, small, X).equal
    assert small[0].out_channels == small[3].in_channels == small[3].out_channels == 1


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_relabelling_clusters_changes_nothing(seed: int) -> None:
    net = lively_(chain())
    graph = pdc.trace(net, X[:1])
    labels = random_labels(graph, 0.5, seed)
    random = np.random.default_rng(seed)
    renamed = {name: random.permutation(1000)[: a.max() + 1][a] for name, a in labels.items()}
    one, other = (reconstructed_and_folded(net, graph, each)[1] for each in (labels, renamed))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_filters_that_are_all_zero_do_no_harm(net: nn.Module) -> None:
    graph = pdc.trace(net, X[:1])
    with torch.no_grad():
        net[0].weight[:4] = 0
        net[3].weight[:] = 0
    labels = pdc.assign(net, graph, pdc.Plan.uniform(graph, 0.5))
    tied, small = reconstructed_and_folded(net, graph, labels)
    assert all(t.isfinite().all() for t in small.state_dict().values())
    assert pdc.check_equal(tied, small, X).equal


def test_fold_and_trace_leave_their_arguments_alone(net: nn.Module) -> None:
    before = copy.deepcopy(net.state_dict())
    graph = pdc.trace(net, X[:1])
    labels = random_labels(graph, 0.5)
    survivors = {name: a.copy() for name, a in labels.items()}
    pdc.assign(net, graph, pdc.Plan.uniform(graph, 0.5))
    pdc.cost(net, X)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values(), strict=True))
    tied, _ = reconstructed_and_folded(net, graph, labels)
    before_tied = copy.deepcopy(tied.state_dict())
    pdc.fold(tied, graph, labels)
    assert all(torch.equal(a, b) for a, b in zip(before_tied.values(), tied.state_dict().values(), strict=True))
    assert all(np.array_equal(survivors[name], labels[name]) for name in labels)


def test_groups_without_labels_keep_all_filters(net: nn.Module) -> None:
    graph = pdc.trace(net, X[:1])
    labels = {"0": random_labels(graph, 0.5)["0"]}
    tied, small = reconstructed_and_folded(net, graph, labels)
    assert pdc.check_equal(tied, small, X).equal
    assert (small[0].out_channels, small[3].out_channels) == (3, 12)


def test_a_folded_network_can_be_traced_and_folded_again(net: nn.Module) -> None:
    graph = pdc.trace(net, X[:1])
    _, small = reconstructed_and_folded(net, graph, random_labels(graph, 0.7))
    again = pdc.trace(small, X[:1])
    tied, smaller = reconstructed_and_folded(small, again, random_labels(again, 0.5))
    assert pdc.check_equal(tied, smaller, X).equal
    assert parameters(smaller) < parameters(small)


def test_float32_agrees_to_its_own_tolerance() -> None:
    net = lively_(chain(32)).float()
    x = X.float()
    graph = pdc.trace(net, x[:1])
    tied, small = reconstructed_and_folded(net, graph, random_labels(graph, 0.5))
    check = pdc.check_equal(tied, small, x)
    assert check.tolerance == 1e-4
    assert check.equal


def test_gradients_of_the_network_are_kept(net: nn.Module) -> None:
    net(X).sum().backward()
    graph = pdc.trace(net, X[:1])
    labels = random_labels(graph, 1.0)
    small = pdc.fold(net, graph, labels)
    assert all(p.grad is not None for p in net.parameters())
    assert all(p.grad is None and p.requires_grad for p in small.parameters())


def test_the_folded_digits_network_answers_as_the_tied_one_on_real_images() -> None:
    model, data = pdc.load_model("resnet20").double(), pdc.load_data("digits")
    x = data.prepare(data.test.images).double()
    graph = pdc.trace(model, x[:1])
    labels = pdc.assign(model, graph, pdc.Plan.uniform(graph, 0.25))
    tied, small = reconstructed_and_folded(model, graph, labels)
    check = pdc.check_equal(tied, small, x)
    assert check.equal
    assert check.examples == 360


def test_check_equal_sees_a_difference() -> None:
    net = nn.Linear(4, 3).double()
    with torch.no_grad():
        net.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.bias += torch.tensor([0.0, 0.0, 5.0])
    check = pdc.check_equal(net, other, torch.zeros(2, 4, dtype=torch.float64))
    assert check.max_abs_diff == pytest.approx(5.0)
    assert not check.same_predictions
    assert not check.equal


class Keepsakes(nn.Module):
    """A network that holds more than torch's containers: what a copy must carry along."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 3, 1))
        self.history = [1, 2]
        self.again = self.body[0]
        self.scale = torch.ones(1)
        self.own = Copied()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x).mean(dim=(2, 3))


class Copied(nn.Module):
    """A module with its own way of being copied."""

    copies = 0

    def __deepcopy__(self, memo: dict[int, object]) -> Copied:
        new = memo[id(self)] = Copied()
        new.copies = self.copies + 1
        return new


def test_folding_copies_what_a_network_holds_and_shares_no_module() -> None:
    net = Keepsakes().double().eval()
    graph = pdc.trace(net, X[:1])
    labels = {"body.0": np.array([0, 0, 1, 1, 1, 2])}
    small = pdc.fold(pdc.reconstruct_(net, graph, labels), graph, labels)
    assert small.again is small.body[0]
    assert small.body[0].out_channels == 3
    assert net.body[0].out_channels == 6
    assert small.history == [1, 2]
    assert small.history is not net.history
    assert small.scale is not net.scale
    assert small.own.copies == 1
    originals = {id(m) for m in net.modules()} | {id(t) for t in net.state_dict(keep_vars=True).values()}
    assert not originals & {id(m) for m in small.modules()}
    assert not originals & {id(t) for t in small.state_dict(keep_vars=True).values()}
    assert pdc.check_equal(net, small, X).equal


@pytest.mark.parametrize("sizes", [(5, 1, 2), (1, 1, 6), (3, 3, 2)])
def test_columns_of_clusters_of_any_size_are_added_up(sizes: tuple[int, ...]) -> None:
    from pdc_core.folding.addition import _add_columns

    random = np.random.default_rng(0)
    a = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    target = np.array([np.flatnonzero(a == c)[0] for c in a])
    v = torch.from_numpy(random.normal(size=(4, 8, 3)))
    onehot = torch.from_numpy((target[:, None] == np.unique(target)).astype(float))  # M (8, k)
    rows = np.array([0, 3])
    assert torch.allclose(_add_columns(v, rows, target), torch.einsum("oiw,ik->okw", v[rows], onehot), atol=1e-12)


@pytest.mark.parametrize("outputs", [8, 16])
def test_grouped_and_depthwise_convolutions_fold_exactly(outputs: int) -> None:
    net = lively_(
        nn.Sequential(
            nn.Conv2d(2, 8, 1),
            nn.Conv2d(8, 8, 3, groups=8),
            nn.Conv2d(8, outputs, 1, groups=2),
            nn.Conv2d(outputs, 3, 1),
        )
    )
    graph = pdc.trace(net, X[:1])
    tied, small = reconstructed_and_folded(net, graph, random_labels(graph, 0.5))
    assert pdc.check_equal(tied, small, X).equal
    assert [(m.in_channels, m.out_channels, m.groups) for m in small] == [
        (2, 4, 1), (4, 4, 4), (4, outputs // 2, 2), (outputs // 2, 3, 1)
    ]  # fmt: skip


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_filters_may_differ_by_the_last_bits_of_their_largest_number_and_by_no_more(scale: float) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(2, 1, 1)).eval()
    graph, labels = pdc.trace(net, torch.zeros(1, 1, 4, 4)), {"0": np.array([0, 0])}
    for bits, tied in ((1, True), (6, True), (20, False)):
        net[0].weight.data[:, 0, 0, 0] = scale * torch.tensor([1.0, 1.0 + bits * 2.0**-23])
        if tied:
            pdc.fold(net, graph, labels)
        else:
            with pytest.raises(pdc.PDCError, match="not identical"):
                pdc.fold(net, graph, labels)


def test_networks_are_compared_without_gradients() -> None:
    class Looks(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(torch.is_grad_enabled())
            return super().forward(x)

    seen: list[bool] = []
    pdc.check_equal(Looks(4, 3), Looks(4, 3), torch.zeros(2, 4))
    assert seen == [False, False]


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 7, 8), (2, 8, 9), (2, 9, 7)])
def test_a_network_of_a_fixed_size_refuses_any_other(shape: tuple[int, ...]) -> None:
    fixed, x = FixedSize((2, 8, 8)), torch.zeros(3, 2, 8, 8)
    assert fixed(x) is x
    with pytest.raises(pdc.PDCError, match="inputs of shape"):
        fixed(torch.zeros(1, *shape))


def test_printed_modules_say_how_many_channels_are_expanded_and_which_size_passes() -> None:
    assert repr(Gather(torch.tensor([0, 2, 1, 0, 2]), 1)) == "Gather(3 -> 5, dim=1)"
    assert repr(Gather(torch.zeros(5, dtype=torch.int64, device="meta"), 1)) == "Gather(? -> 5, dim=1)"
    assert repr(FixedSize((2, 8, 6))) == "FixedSize(2 x 8 x 6)"
