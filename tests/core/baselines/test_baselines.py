"""Baselines: deletion against masks and naive scores, norm statistics against their definition."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import pdc_core as pdc
from pdc_core.baselines import METHODS, SCORES, WHOLE, PruningInput, delete, select_filters, train_baseline
from pdc_core.train import Recorder, Stopped
from pdc_core.train.recorder import Request
from tests.networks import chain, counted_macs, lively_
from tests.training import FEW, MODEL, Interrupted, same_networks

EXAMPLE = torch.zeros(1, 2, 6, 6)
X = torch.randn(4, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def traced(net: nn.Module | None = None) -> tuple[nn.Module, pdc.ChannelGraph]:
    net = lively_(net or chain())
    return net, pdc.trace(net, EXAMPLE)


def masked(net: nn.Sequential, after: dict[int, np.ndarray], x: Tensor) -> Tensor:
    """The network with the outputs of some layers (their activations) set to zero where channels were removed."""
    for i, layer in enumerate(net):
        x = layer(x)
        if i in after:
            gone = np.setdiff1d(np.arange(x.shape[1]), after[i])
            x = x.clone()
            x[:, torch.from_numpy(gone)] = 0
    return x


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_deleting_is_silencing_the_channels_where_they_are_read(seed: int) -> None:
    net, graph = traced()
    random = np.random.default_rng(seed)
    own = {
        name: np.sort(random.choice(size, random.integers(1, size + 1), replace=False))
        for name, size in (("0", 6), ("3", 12), ("8", 8))
    }
    small = delete(net, graph, own)
    assert small[0].out_channels == len(own["0"])
    assert torch.allclose(small(X), masked(net, {2: own["0"], 5: own["3"], 9: own["8"]}, X), atol=1e-12)


def test_a_filter_of_size_zero_may_stay_and_its_norm_is_its_own() -> None:
    net, graph = traced()
    net[3].weight.data[:11] = 0  # biases and norms still speak
    own = {"3": np.array([1, 4])}
    assert torch.allclose(delete(net, graph, own)(X), masked(net, {5: own["3"]}, X), atol=1e-12)


def test_deletion_in_a_grouped_convolution_keeps_equally_many_of_every_block() -> None:
    class Grouped(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Conv2d(2, 8, 1), nn.ReLU(), nn.Conv2d(8, 6, 3, groups=2, bias=False))

    net, graph = traced(Grouped())
    own = select_filters(net, graph, pdc.Plan.uniform(graph, 0.5), "l1")
    assert np.bincount(own["0"] // 4).tolist() == [2, 2]
    assert torch.allclose(delete(net, graph, own)(X), masked(net, {1: own["0"]}, X), atol=1e-12)


def test_a_residual_network_keeps_its_trunk_and_the_plans_macs() -> None:
    net = pdc.load_model("resnet20")
    graph = pdc.trace(net, torch.zeros(1, 1, 8, 8))
    plan = pdc.Plan.uniform(graph, 0.4)
    small = delete(net, graph, select_filters(net, graph, plan, "fpgm"))
    assert counted_macs(small, torch.zeros(1, 1, 8, 8)) == pdc.plan_cost(graph, plan).macs
    assert small.layer1[0].conv2.out_channels == 16


def test_scores_are_their_formulas() -> None:
    w = np.random.default_rng(0).normal(size=(7, 5))
    for i in range(7):
        assert SCORES["l1"](w, np.random.default_rng(0))[i] == pytest.approx(sum(abs(v) for v in w[i]))
        far = sum(float(np.linalg.norm(w[i] - w[j])) for j in range(7))
        assert SCORES["fpgm"](w, np.random.default_rng(0))[i] == pytest.approx(far)


def test_the_largest_stay_and_chance_follows_the_seed() -> None:
    net, graph = traced()
    plan = pdc.Plan.uniform(graph, 0.5)
    sizes = net[3].weight.detach().abs().sum(dim=(1, 2, 3))
    assert set(select_filters(net, graph, plan, "l1")["3"]) == set(sizes.topk(6).indices.tolist())
    chosen = [select_filters(net, graph, plan, "random", seed)["3"].tolist() for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]


@pytest.mark.parametrize("own", [[], [1, 1], [12], [-1]])
def test_filters_that_cannot_be_kept_are_refused(own: list[int]) -> None:
    net, graph = traced()
    with pytest.raises(pdc.PDCError, match=r"'3' .* 0 to 11"):
        delete(net, graph, {"3": np.array(own, dtype=np.int64)})


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_gives_the_plans_widths_and_leaves_the_network_alone(method: str) -> None:
    net, data = pdc.load_model("resnet20"), pdc.load_data("digits")
    graph = pdc.trace(net, torch.zeros(1, 1, 8, 8))
    plan, before = pdc.Plan.uniform(graph, 0.25), copy.deepcopy(net.state_dict())
    small = METHODS[method](PruningInput(net, graph, plan, data, seed=1))
    widths = plan.whole() if method == WHOLE else plan
    assert pdc.cost(small, torch.zeros(1, 1, 8, 8)).params == pdc.plan_cost(graph, widths).params
    assert all(torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values(), strict=True))
    again = METHODS[method](PruningInput(net, graph, plan, data, seed=1))
    assert all(torch.equal(a, b) for a, b in zip(small.state_dict().values(), again.state_dict().values(), strict=True))


def test_folding_without_data_compares_weights_where_a_plan_compares_responses() -> None:
    net, data = pdc.load_model("resnet20"), pdc.load_data("digits")
    graph = pdc.trace(net, torch.zeros(1, 1, 8, 8))
    plan = pdc.Plan.uniform(graph, 0.5)
    ours, plain = (
        METHODS["folding"](PruningInput(net, graph, each, data)).state_dict()
        for each in (plan.model_copy(update={"vectors": "activations"}), plan)
    )
    assert all(torch.equal(a, b) for a, b in zip(ours.values(), plain.values(), strict=True))


def test_measuring_the_norms_again_helps_a_folded_network() -> None:
    net, data = pdc.load_model("resnet20"), pdc.load_data("digits")
    graph = pdc.trace(net, torch.zeros(1, 1, 8, 8))
    case = PruningInput(net, graph, pdc.Plan.uniform(graph, 0.5), data)
    without, measured = (pdc.evaluate(METHODS[m](case), data, data.val).loss for m in ("folding", "folding_bn"))
    assert measured < without


@pytest.mark.parametrize("method", ["random", WHOLE])
def test_a_baseline_that_was_stopped_goes_on_bit_for_bit(method: str) -> None:
    plan = pdc.Plan.uniform(pdc.trace(MODEL, torch.zeros(1, 1, 8, 8)), 0.25)
    run = partial(train_baseline, method, MODEL, plan, FEW, seed=1, settings=pdc.Training(epochs=2, lr=0.02))
    whole, recorder = run(), Interrupted(4)
    with pytest.raises(Stopped):
        run(recorder=recorder)
    assert same_networks(run(recorder=recorder).folded, whole.folded)


class FinishesEarly(Recorder):
    """Asks to finish after three steps."""

    seen = 0

    def progress(self, step: int, steps: int, epoch: int, epochs: int) -> None:
        self.seen = step

    def requested(self) -> Request | None:
        return "finish" if self.seen >= 3 else None


def test_the_whole_network_is_trained_with_every_filter_and_the_same_losses() -> None:
    plan = pdc.Plan.uniform(pdc.trace(MODEL, torch.zeros(1, 1, 8, 8)), 0.25)
    training = pdc.Training(epochs=2, lr=0.02)
    result = train_baseline(WHOLE, MODEL, plan, FEW, seed=1, settings=training)
    before, after = result.report["before"], result.report["folded"]
    assert (after["macs"], after["params"]) == (before["macs"], before["params"])
    assert result.report["max_abs_diff"] == 0.0
    assert all(width["before"] == width["after"] for width in result.report["widths"])
    assert not same_networks(result.folded, MODEL)
    # PDC with a plan that keeps everything is the same training, written another way
    control = pdc.distil(MODEL, plan.whole(), FEW, seed=1, settings=training)
    assert same_networks(result.folded, control.folded)
    assert [r["loss"] for r in result.history if "loss" in r] == [r["loss"] for r in control.history if "loss" in r]


def test_the_whole_network_may_finish_early_and_needs_nothing_to_merge() -> None:
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.GroupNorm(2, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    recorder = FinishesEarly()
    result = train_baseline(WHOLE, net.eval(), pdc.Plan(), FEW, settings=pdc.Training(epochs=2), recorder=recorder)
    assert result.report["ended_early"]["step"] == 3
    assert result.report["folded"]["macs"] == result.report["before"]["macs"]


def test_scratch_draws_every_parameter_anew_or_names_the_one_that_it_cannot() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gamma = nn.Parameter(torch.full((1, 6, 1, 1), 3.0))

        def forward(self, x: Tensor) -> Tensor:
            return self.gamma * x

    def small(last: nn.Module, seed: int = 0) -> nn.Module:
        net = nn.Sequential(nn.Conv2d(2, 6, 3), nn.GroupNorm(1, 6), nn.PReLU(6), last, nn.Flatten(), nn.Linear(96, 3))
        with torch.no_grad():
            for p in net.parameters():
                p.fill_(7.0)
        graph = pdc.trace(net.eval(), EXAMPLE)
        before = torch.get_rng_state()
        made = METHODS["scratch"].make(PruningInput(net, graph, pdc.Plan(), None, seed))  # type: ignore[arg-type]
        assert torch.equal(before, torch.get_rng_state())
        return made

    one, again, other = small(nn.Identity()), small(nn.Identity()), small(nn.Identity(), seed=1)
    assert same_networks(one, again)
    assert not same_networks(one, other)
    assert not any((p == 7.0).any() for p in one.parameters())
    with pytest.raises(pdc.PDCError, match=r"parameter 3\.gamma of Scaled begins is not known"):
        small(Scaled())
