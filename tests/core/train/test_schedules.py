"""Schedules and guidance of the one stage: each ends tied, folds exactly, resumes, and adds up what it says."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

import pdc_core as pdc
from pdc_core.baselines import METHODS, PruningInput, reestimate_norms_, train_baseline
from pdc_core.data import Split
from pdc_core.train import SCHEDULES, DistillationLoss, PDCTask, Recorder, Training
from pdc_core.train.recorder import Request

DIGITS = pdc.load_data("digits")
FEW = replace(DIGITS, train=Split(DIGITS.train.images[:130], DIGITS.train.labels[:130]))  # an epoch is five steps
MODEL = pdc.load_model("resnet20")
GRAPH = pdc.trace(MODEL, torch.zeros(1, 1, 8, 8))
PLAN = pdc.Plan.uniform(GRAPH, 0.25)


SCHEDULED = {
    "merge": {"schedule": "merge", "tied_gradients": "summed", "tied_after": 0.6, "merges": 3, "n_images": 64},
    "recluster": {"schedule": "recluster", "recluster_until": 0.9, "n_images": 64},
    "guided": {"matching": 1.0, "attention": 10.0, "feature_decay": 1.0, "kd_form": "dkd"},
}


@pytest.fixture(scope="module", params=[*SCHEDULES, "guided"])
def variant(request: pytest.FixtureRequest) -> tuple[Training, pdc.Result]:
    settings = Training(epochs=2, **SCHEDULED.get(request.param, {"schedule": request.param}))
    return settings, pdc.distil(MODEL, PLAN, FEW, settings=settings)


def test_every_schedule_and_guidance_ends_tied_folded_exactly_and_at_the_plans_widths(
    variant: tuple[Training, pdc.Result],
) -> None:
    _, result = variant
    assert pdc.check_equal(result.reconstructed, result.folded, DIGITS.prepare(DIGITS.test.images)).equal
    assert {name: a.max() + 1 for name, a in result.labels.items()} == PLAN.counts
    assert result.history[-1]["deviation"] < 1e-6
    assert not any(m._forward_hooks for m in result.folded.modules())


def test_every_schedule_and_guidance_resumes_bit_for_bit(variant: tuple[Training, pdc.Result]) -> None:
    settings, result = variant

    class Keeps(Recorder):
        first: dict[str, Any] | None = None

        def checkpoint(self, state: Callable[[], dict[str, Any]]) -> None:
            self.first = self.first or copy.deepcopy(state())

    class Resumes(Recorder):
        def resume(self) -> dict[str, Any] | None:
            return kept.first

    kept = Keeps()
    pdc.distil(MODEL, PLAN, FEW, settings=settings, recorder=kept)
    again = pdc.distil(MODEL, PLAN, FEW, settings=settings, recorder=Resumes())
    for a, b in zip(result.folded.state_dict().values(), again.folded.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("decay", [0.5, 1.0, 2.0])
def test_filters_become_ever_more_identical_under_the_asymptotic_schedule(decay: float) -> None:
    settings = Training(epochs=1, merge_decay=decay, **SCHEDULED["merge"])
    images = FEW.prepare(FEW.train.images[:64])
    stage = PDCTask(MODEL, GRAPH, pdc.assign(MODEL, GRAPH, PLAN), settings, images)
    stage.optimizer = torch.optim.SGD(stage.student.parameters(), lr=0.1)
    counts, name = [], "layer3.0.conv1"
    stage.place(torch.device("cpu"))
    for progress in (0.0, 0.2, 0.3, 0.5, 0.6, 1.0):
        if progress:
            stage.after_step(progress)
        counts.append(len(torch.unique(stage.student.get_submodule(name).weight.detach(), dim=0)))
    sizes = [round(64 * (16 / 64) ** ((j / 3) ** decay)) for j in (1, 2, 3)]  # n (k/n)^((j/m)^p)
    assert counts == [sizes[0], sizes[0], sizes[1], sizes[1], sizes[2], sizes[2]]


@pytest.mark.parametrize("schedule", ["merge", "progressive"])
def test_a_run_ended_before_its_clusters_are_tied_is_a_network_and_not_a_ruin(schedule: str) -> None:
    class Ends(Recorder):
        def requested(self) -> Request | None:
            return "finish" if self.done == 2 else None

        done = 0

        def progress(self, step: int, steps: int, epoch: int, epochs: int) -> None:
            self.done = step

    settings = Training(epochs=8, schedule=schedule, tied_after=0.9)
    plan = pdc.Plan.uniform(GRAPH, 0.5)
    result = pdc.distil(MODEL, plan, FEW, settings=settings, recorder=Ends())
    assert result.report["ended_early"]["step"] == 2
    assert result.report["folded"]["test_accuracy"] > {"merge": 0.85, "progressive": 0.8}[schedule]
    assert result.report["same_predictions"]
    assert {name: a.max() + 1 for name, a in result.labels.items()} == plan.counts


def test_readers_that_are_solved_start_better_than_channel_addition_alone() -> None:
    images = DIGITS.prepare(DIGITS.train.images[:300])
    plan = pdc.Plan.uniform(GRAPH, 0.5)
    labels = pdc.assign(MODEL, GRAPH, plan)
    stage = PDCTask(MODEL, GRAPH, labels, Training(schedule="merge", merges=1), images)
    stage.optimizer = torch.optim.SGD(stage.student.parameters(), lr=0.1)
    stage.place(torch.device("cpu"))
    added = pdc.reconstruct_(copy.deepcopy(MODEL), GRAPH, labels)
    solved, plain = (
        pdc.evaluate(reestimate_norms_(m.eval(), images), DIGITS, DIGITS.val).loss for m in (stage.student, added)
    )
    assert solved < plain


def test_the_guide_adds_up_what_the_settings_ask_for_and_lets_it_fade() -> None:
    settings = Training(matching=2.0, attention=3.0, feature_decay=2.0, alpha=0.3)
    teacher = copy.deepcopy(MODEL)
    guide = DistillationLoss(teacher, ("layer1.0", "layer3.2"), settings)
    student = pdc.load_model("resnet20", weights=False)
    guide.watch(student)
    x, y = DIGITS.prepare(DIGITS.train.images[:8]), DIGITS.train.labels[:8]
    early, late = (guide.loss(student, x, y, progress) for progress in (0.0, 0.5))
    features = 2 * early["matching"] + 3 * early["attention"]
    assert torch.allclose(early["loss"], 0.7 * early["ce"] + 0.3 * early["kd"] + features)
    assert torch.allclose(late["loss"], 0.7 * early["ce"] + 0.3 * early["kd"] + 0.25 * features)
    guide.watch(teacher)
    same = guide.loss(teacher, x, y, 0.0)
    assert float(same["matching"].detach()) == float(same["attention"].detach()) == 0.0


def test_a_small_network_is_trained_under_the_same_teacher_and_loop() -> None:
    result = train_baseline("l1", MODEL, PLAN, FEW, settings=Training(epochs=2, matching=1.0))
    start = METHODS["l1"](PruningInput(MODEL, GRAPH, PLAN, FEW))
    losses = [h["loss"] for h in result.history if h["kind"] == "train"]
    assert losses[-1] < losses[0]
    assert {h["kind"] for h in result.history} == {"train", "evaluation"}
    assert result.report["folded"]["macs"] == pdc.plan_cost(GRAPH, PLAN).macs
    assert pdc.evaluate(result.folded, DIGITS, DIGITS.val).loss < pdc.evaluate(start, DIGITS, DIGITS.val).loss
    with pytest.raises(pdc.PDCError, match="l1, fpgm, random"):
        train_baseline("magic", MODEL, PLAN, FEW)


@pytest.mark.parametrize("schedule", ["merge", "recluster", "progressive"])
def test_a_sum_whose_producers_merge_alone_is_trained_and_folded_exactly(schedule: str) -> None:
    graph = pdc.trace(MODEL, torch.zeros(1, 1, 8, 8), residual="gather")
    plan = pdc.Plan.uniform(graph, 0.5)
    assert any(not group.readers for group in graph.clusterable)
    result = pdc.distil(MODEL, plan, FEW, settings=Training(epochs=2, schedule=schedule, n_images=64))
    assert result.report["same_predictions"]
    assert result.report["folded"]["macs"] == pdc.plan_cost(graph, plan).macs
    assert {name: a.max() + 1 for name, a in result.labels.items()} == plan.counts


@pytest.mark.parametrize(("long", "merges"), [(6, 1), (5, 6)])
def test_a_run_of_the_data_sets_defaults_merges_as_often_as_its_length_asks(
    long: int, merges: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pdc_core.train.settings.LONG", long)  # the run has five steps
    by_length, by_hand = (Training(epochs=1, n_images=64, merges=m, tied_after=1.0) for m in (None, merges))
    automatic, chosen = (pdc.distil(MODEL, PLAN, FEW, settings=each) for each in (by_length, by_hand))
    for name, tensor in chosen.folded.state_dict().items():
        assert torch.equal(automatic.folded.state_dict()[name], tensor), name


def test_merging_by_length_needs_a_length() -> None:
    labels = pdc.assign(MODEL, GRAPH, PLAN)
    with pytest.raises(pdc.PDCError, match=r"settings\.for_steps"):
        PDCTask(MODEL, GRAPH, labels, Training(merges=None), torch.zeros(2, 1, 8, 8))
