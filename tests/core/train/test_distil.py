"""The one stage as a whole: what it promises, that it is repeatable, and that it refuses what cannot work."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

import pdc_core as pdc
from pdc_core.baselines import train_baseline
from pdc_core.data import Split
from pdc_core.train import Recorder, Stopped, Training
from pdc_core.train.recorder import Request
from pdc_core.train.tasks.pdc import PDCTask
from tests.networks import counted_macs, parameters
from tests.training import DIGITS, FEW, GRAPH, MODEL, PLAN, Interrupted, few, same_networks, timeless


@pytest.fixture(scope="module")
def result() -> pdc.Result:
    return pdc.distil(MODEL, PLAN, FEW, epochs=2, seed=0)


def test_the_folded_network_is_the_reconstructed_one(result: pdc.Result) -> None:
    x = DIGITS.prepare(DIGITS.test.images)
    check = pdc.check_equal(result.reconstructed, result.folded, x)
    assert check.equal
    assert result.report["max_abs_diff"] == check.max_abs_diff
    assert result.report["same_predictions"]
    double = pdc.check_equal(
        copy.deepcopy(result.reconstructed).double(), copy.deepcopy(result.folded).double(), x.double()
    )
    assert double.relative < 1e-6  # the float32 sums of the fold itself are all that is left


def test_the_report_says_what_was_cut(result: pdc.Result) -> None:
    x = torch.zeros(1, 1, 8, 8)
    report = result.report
    assert report["folded"]["macs"] == counted_macs(result.folded, x)
    assert report["folded"]["params"] == parameters(result.folded)
    assert report["before"]["macs"] == counted_macs(MODEL, x)
    assert 1 - report["folded"]["macs"] / report["before"]["macs"] > 0.74
    assert report["folded"]["test_accuracy"] == pdc.evaluate(result.folded, DIGITS, DIGITS.test).accuracy
    assert report["reconstructed"]["test_accuracy"] == report["folded"]["test_accuracy"]
    assert {w["name"]: w["after"] for w in report["widths"]}["layer3.0.conv1"] == 16


def test_history_shows_the_strength_rising_and_the_clusters_meeting(result: pdc.Result) -> None:
    steps = [h for h in result.history if h["kind"] == "train"]
    assert [h["strength"] for h in steps][-1] == 1.0
    assert all(a["strength"] <= b["strength"] for a, b in itertools.pairwise(steps))
    assert steps[0]["deviation"] > 0.1
    assert steps[-1]["deviation"] < 1e-6
    assert [h["epoch"] for h in result.history if h["kind"] == "evaluation"] == [1, 2]


def test_the_same_seed_gives_the_same_network_to_the_last_bit(result: pdc.Result) -> None:
    torch.manual_seed(123)  # the global state must not matter
    again = pdc.distil(MODEL, PLAN, FEW, epochs=2, seed=0)
    for a, b in zip(result.folded.state_dict().values(), again.folded.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert again.history[0]["loss"] == result.history[0]["loss"]


def test_another_seed_gives_another_network(result: pdc.Result) -> None:
    other = pdc.distil(MODEL, PLAN, FEW, epochs=2, seed=1)
    assert other.history[0]["loss"] != result.history[0]["loss"]


def test_the_teacher_is_not_changed_and_the_global_random_state_is_not_touched() -> None:
    before, state = copy.deepcopy(MODEL.state_dict()), torch.get_rng_state()
    pdc.distil(MODEL, PLAN, FEW, epochs=1)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), MODEL.state_dict().values(), strict=True))
    assert torch.equal(state, torch.get_rng_state())
    assert not MODEL.training
    assert all(p.requires_grad for p in MODEL.parameters())


def test_every_filter_kept_is_plain_distillation() -> None:
    result = pdc.distil(MODEL, pdc.Plan.uniform(GRAPH, 1.0), FEW, epochs=1)
    assert result.report["folded"]["macs"] == result.report["before"]["macs"]
    assert result.report["max_abs_diff"] == 0.0


class Untrained(Recorder):
    """Fails as soon as training says anything."""

    def __getattribute__(self, name: str):
        raise AssertionError(f"training had begun: {name}")


@pytest.mark.parametrize("method", ["pdc", "l1"])
def test_a_network_in_which_nothing_can_be_merged_is_refused_before_training(method: str) -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.GroupNorm(2, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
    ).eval()
    start = pdc.distil if method == "pdc" else partial(train_baseline, method)
    message = r"No filters can be merged. Blocked: 8 filters whose group enters 1 \(GroupNorm mixes channels\)."
    with pytest.raises(pdc.PDCError, match=message):
        start(net, pdc.Plan.uniform(pdc.trace(net, torch.zeros(1, 1, 8, 8)), 0.5), FEW, recorder=Untrained())


def test_a_plan_whose_constraints_leave_every_group_whole_is_refused_before_training() -> None:
    plan = pdc.Plan.uniform(GRAPH, 0.5, min=64)
    with pytest.raises(pdc.PDCError, match=r"leave every group whole \(min=64\).*largest group has 64 filters"):
        pdc.distil(MODEL, plan, FEW, recorder=Untrained())


def test_where_only_sums_block_the_filters_shared_is_advised() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Conv2d(1, 6, 3, padding=1), nn.Linear(6, 10)
            self.conv = nn.Conv2d(6, 6, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            return self.head((x + self.conv(x)).mean((2, 3)))

    net = Block().eval()
    plan = pdc.Plan.uniform(pdc.trace(net, torch.zeros(1, 1, 8, 8)), 0.5)
    with pytest.raises(pdc.PDCError, match=r"in a residual sum, which `internal` leaves whole\. Try residual='shared'"):
        pdc.distil(net, plan, FEW, recorder=Untrained())


def test_a_chain_is_distilled_too() -> None:
    chain = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 10),
    ).eval()
    plan = pdc.Plan.uniform(pdc.trace(chain, torch.zeros(1, 1, 8, 8)), 0.5)
    result = pdc.distil(chain, plan, FEW, epochs=1)
    assert result.folded[0].out_channels == 4
    assert result.report["same_predictions"]


def test_the_tied_schedule_ties_from_the_first_step() -> None:
    result = pdc.distil(MODEL, PLAN, FEW, settings=Training(epochs=1, schedule="tied"))
    assert result.history[0]["strength"] == 1.0
    assert result.history[0]["deviation"] < 1e-6


def test_a_loss_that_is_not_finite_stops_with_step_and_learning_rate() -> None:
    with pytest.raises(pdc.PDCError, match=r"at step \d+ of 150 with learning rate 1e\+12; .* Last good checkpoint"):
        pdc.distil(MODEL, PLAN, FEW, settings=Training(epochs=30, lr=1e12))


def test_an_empty_data_set_is_refused() -> None:
    with pytest.raises(pdc.PDCError, match="0 training images"):
        pdc.distil(MODEL, PLAN, few(DIGITS, 0), epochs=1)
    with pytest.raises(pdc.PDCError, match="empty"):
        pdc.evaluate(MODEL, DIGITS, Split(DIGITS.test.images[:0], DIGITS.test.labels[:0]))


def test_a_network_for_fewer_classes_is_refused() -> None:
    chain = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).eval()
    with pytest.raises(pdc.PDCError, match="10 classes"):
        pdc.evaluate(chain, DIGITS, DIGITS.test)


def test_a_last_batch_of_one_image_is_left_out() -> None:
    result = pdc.distil(MODEL, PLAN, few(DIGITS, 33), epochs=1)  # 32 + 1: batch norm cannot use the one
    assert [h["step"] for h in result.history if h["kind"] == "evaluation"] == [1]


def test_stopping_ends_the_loop_at_once() -> None:
    class StopsAtThree(Recorder):
        seen = 0

        def progress(self, step: int, steps: int, epoch: int, epochs: int) -> None:
            self.seen = step

        def requested(self) -> Request | None:
            return "stop" if self.seen >= 3 else None

    recorder = StopsAtThree()
    with pytest.raises(Stopped):
        pdc.distil(MODEL, PLAN, FEW, epochs=5, recorder=recorder)
    assert recorder.seen == 3


@pytest.mark.parametrize("after", [0, 1, 4, 5, 7, 10])  # five steps an epoch, ten in all, then it is measured
def test_a_run_that_goes_on_from_a_checkpoint_ends_bit_for_bit_the_same(result: pdc.Result, after: int) -> None:
    recorder = Interrupted(after)
    with pytest.raises(Stopped, match=f"Paused after step {after} of 10") as stopped:
        pdc.distil(MODEL, PLAN, FEW, epochs=2, recorder=recorder)
    assert stopped.value.state == "paused"
    torch.manual_seed(99)
    again = pdc.distil(MODEL, PLAN, FEW, epochs=2, recorder=recorder)
    assert same_networks(result.folded, again.folded)
    assert timeless(again.history) == timeless(result.history)
    assert all((a == again.labels[name]).all() for name, a in result.labels.items())


def test_teaching_lowers_the_loss() -> None:
    model = pdc.load_model("resnet20", weights=False)
    result = pdc.teach(model, few(DIGITS, 512), settings=Training(epochs=3, lr=0.1))
    losses = [h["train_loss"] for h in result.history if h["kind"] == "evaluation"]
    assert losses[-1] < losses[0]
    assert result.report["taught"]["test_accuracy"] > 0.2


def test_filters_are_merged_on_images_of_all_classes_of_sorted_data(monkeypatch: pytest.MonkeyPatch) -> None:
    order = torch.argsort(FEW.train.labels, stable=True)
    blocks = replace(FEW, train=Split(FEW.train.images[order], FEW.train.labels[order]))
    seen: list[torch.Tensor] = []

    class Watched(PDCTask):
        def __init__(self, *given: Any) -> None:
            seen.append(given[4])
            super().__init__(*given)

    monkeypatch.setattr("pdc_core.train.run.PDCTask", Watched)
    pdc.distil(MODEL, PLAN, blocks, settings=pdc.Training(epochs=1, n_images=40))
    classes = {int(y) for x in seen[0] for y in FEW.train.labels[(FEW.prepare(FEW.train.images) == x).all((1, 2, 3))]}
    assert len(seen[0]) == 40
    assert len(classes) == 10
