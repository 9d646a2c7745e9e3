"""Budget to plan and preview: the command line gets what the library gives, and names out of range are refused."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pdc_core as pdc
from pdc_core.clustering import deal_out
from pdc_core.estimates import (
    QUANTITIES,
    RULES,
    Sensitivity,
    WholeMerges,
    compare_rules,
    plan_from_rule,
    preview,
    sensitivity,
    uniform_damage,
)
from pdc_core.norms import reestimate_norms_
from pdc_core.reconstruct import merge_

MODEL = pdc.load_model("resnet20")
GRAPH = pdc.trace(MODEL, torch.zeros(1, 1, 8, 8))
DATA = pdc.load_data("digits")
WHOLE = pdc.Plan.uniform(GRAPH, 1.0, model="resnet20")


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PDC_RUNS", str(tmp_path))
    monkeypatch.setattr("pdc_core.estimates.rules._CLUSTERINGS", 1)  # of three: sooner, and nothing else differs


@pytest.fixture
def three_clusterings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdc_core.estimates.rules._CLUSTERINGS", 3)


@pytest.fixture(scope="module")
def measured() -> Sensitivity:
    return sensitivity(MODEL, GRAPH, DATA)


def stepwise(model: nn.Module, example: Tensor, batches: Sequence[int], repeats: int) -> dict[int, float]:
    """A machine that computes channels in lots, whose size depends on the batch: another batch size, another plan."""
    widths = [module.out_channels for module in model.modules() if isinstance(module, nn.Conv2d)]
    return {b: float(sum(math.ceil(width / (b / 8)) for width in widths)) for b in batches}


@pytest.mark.parametrize(
    ("of", "by"),
    [
        ("macs", "joint"),
        ("macs", "mixed"),
        ("macs", "sensitivity"),
        ("params", "inertia"),
        ("macs", "uniform"),
        ("latency", "inertia"),
    ],
)
def test_the_command_line_makes_the_plan_of_the_library(
    of: str, by: str, measured: Sensitivity, monkeypatch: pytest.MonkeyPatch, pdc_command
) -> None:
    monkeypatch.setattr("pdc_core.estimates.budget.latency", stepwise)
    code, out, _ = pdc_command("plan", "--cut", 0.3, "--of", of, "--by", by, "--json")
    assert code == 0
    counts = json.loads(out)["plan"]["counts"]
    assert plan_from_rule(MODEL, GRAPH, WHOLE, 0.3, of, by, data=DATA, sensitivity=measured).counts == counts
    assert counts != WHOLE.counts
    if of == "latency":
        small = stepwise(pdc.fold(*folded(counts)), torch.zeros(1), [64], 1)[64]
        assert 1 - small / stepwise(MODEL, torch.zeros(1), [64], 1)[64] >= 0.3


def test_a_budget_goes_by_the_least_damage_of_all_layers_together_where_no_rule_is_named(
    measured: Sensitivity, pdc_command
) -> None:
    code, out, _ = pdc_command("plan", "--cut", 0.8, "--json")
    assert code == 0
    said = json.loads(out)
    compared = compare_rules(MODEL, GRAPH, WHOLE, 0.8, data=DATA, sensitivity=measured)
    assert said["plan"]["counts"] == compared[0].plan.counts
    assert said["rules"] == [{"rule": each.rule, "damage": each.damage} for each in compared]
    assert plan_from_rule(MODEL, GRAPH, WHOLE, 0.8, data=DATA, sensitivity=measured) == compared[0].plan
    code, out, _ = pdc_command("plan", "--cut", 0.8)
    assert f"Shared out by the rule {compared[0].rule}" in " ".join(out.split())


@pytest.mark.usefixtures("three_clusterings")
def test_rules_are_compared_by_what_their_plans_do_merged_whole(measured: Sensitivity) -> None:
    asked: list[tuple[int, int]] = []
    compared = compare_rules(
        MODEL, GRAPH, WHOLE, 0.7, data=DATA, sensitivity=measured, progress=lambda *done: asked.append(done)
    )
    assert asked == [(i, 12) for i in range(12)]
    assert sorted(each.rule for each in compared) == sorted(set(RULES) - {"joint"})
    damages = [each.damage for each in compared]
    assert damages == sorted(damages)
    for each in compared:
        assert each.plan == plan_from_rule(MODEL, GRAPH, WHOLE, 0.7, by=each.rule, sensitivity=measured)
        alone = [WholeMerges(MODEL, GRAPH, DATA).damage(each.plan, seed) for seed in range(3)]
        assert each.damage == pytest.approx(np.mean(alone))
        assert 1 - pdc.plan_cost(GRAPH, each.plan).macs / pdc.plan_cost(GRAPH, WHOLE).macs >= 0.7


def test_the_damage_of_a_whole_plan_is_the_divergence_of_the_folded_network() -> None:
    assert WholeMerges(MODEL, GRAPH, DATA).damage(WHOLE) < 0.02  # norms are re-estimated, nothing else changes
    plan, shown = pdc.Plan.uniform(GRAPH, 0.4), 300
    x = DATA.prepare(DATA.train.images[:512])
    labels = pdc.assign(MODEL, GRAPH, plan, 0, images=x)
    student = pdc.load_model("resnet20")
    merge_(student, GRAPH, labels, {name: np.arange(len(a)) for name, a in labels.items()}, x)
    with torch.no_grad():
        p, q = (
            m(DATA.prepare(DATA.val.images[:shown])).log_softmax(1)
            for m in (MODEL, reestimate_norms_(pdc.fold(student, GRAPH, labels), x))
        )
    expected = F.kl_div(q, p, log_target=True, reduction="batchmean").item()
    assert WholeMerges(MODEL, GRAPH, DATA, images=shown).damage(plan) == pytest.approx(expected, rel=1e-4)


def test_answers_that_are_not_finite_are_no_small_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(small: nn.Module, images: Tensor) -> nn.Module:
        nn.init.constant_(small.linear.weight, math.nan)
        return small

    monkeypatch.setattr("pdc_core.estimates.untrained.reestimate_norms_", broken)
    assert WholeMerges(MODEL, GRAPH, DATA).damage(pdc.Plan.uniform(GRAPH, 0.5)) == math.inf


def test_plans_that_are_equal_are_merged_once(measured: Sensitivity, monkeypatch: pytest.MonkeyPatch) -> None:
    merged: list[pdc.Plan] = []

    def damage(merges: WholeMerges, plan: pdc.Plan, seed: int) -> float:
        merged.append(plan)
        return 0.5

    monkeypatch.setattr(WholeMerges, "damage", damage)
    compared = compare_rules(MODEL, GRAPH, WHOLE, 0.0, data=DATA, sensitivity=measured)
    assert merged == [WHOLE]
    assert [each.damage for each in compared] == [pytest.approx(0.5)] * 4


def folded(counts: dict[str, int]) -> tuple[nn.Module, pdc.ChannelGraph, dict]:
    labels = pdc.assign(MODEL, GRAPH, WHOLE.replace(counts))
    return pdc.reconstruct_(pdc.load_model("resnet20"), GRAPH, labels), GRAPH, labels


def test_a_preview_on_the_command_line_is_that_of_the_library(pdc_command) -> None:
    # the app's is compared with the library's in tests/ui/plan
    code, out, _ = pdc_command("plan", "--keep", 0.5, "--preview", "--json")
    assert code == 0
    seen = json.loads(out)["preview"]
    expected = preview(MODEL, GRAPH, pdc.Plan.uniform(GRAPH, 0.5), pdc.load_data("digits"))
    fields = ("accuracy", "recalibrated", "before", "images")
    assert [seen[field] for field in fields] == [getattr(expected, field) for field in fields]
    assert 0 < expected.seconds < 60


def test_a_sensitivity_is_measured_where_none_is_given(measured: Sensitivity) -> None:
    for by in ("joint", "mixed"):
        found = plan_from_rule(MODEL, GRAPH, WHOLE, 0.4, by=by, data=DATA)
        assert found == plan_from_rule(MODEL, GRAPH, WHOLE, 0.4, by=by, data=DATA, sensitivity=measured)
    with pytest.raises(pdc.PDCError, match="needs a measured sensitivity, or data"):
        plan_from_rule(MODEL, GRAPH, WHOLE, 0.4, by="mixed")
    with pytest.raises(pdc.PDCError, match="The rule joint needs data"):
        plan_from_rule(MODEL, GRAPH, WHOLE, 0.4, sensitivity=measured)


def test_a_set_without_validation_images_is_refused() -> None:
    empty = dataclasses.replace(DATA, val=pdc.data.Split(DATA.val.images[:0], DATA.val.labels[:0]))
    with pytest.raises(pdc.PDCError, match="no validation images to measure a plan on"):
        WholeMerges(MODEL, GRAPH, empty)


def test_damage_that_is_known_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdc_core.estimates.rules.inertia_damage", None)
    found = plan_from_rule(MODEL, GRAPH, WHOLE, 0.4, by="inertia", damage=uniform_damage(GRAPH))
    assert found == plan_from_rule(MODEL, GRAPH, WHOLE, 0.4, by="uniform")


@pytest.mark.parametrize(("of", "by", "said"), [("flops", "uniform", QUANTITIES), ("macs", "magic", RULES)])
def test_unknown_names_are_refused_with_those_that_are_known(of: str, by: str, said: dict[str, str]) -> None:
    with pytest.raises(pdc.PDCError, match=f"choose {', '.join(list(said)[:-1])} or {list(said)[-1]}"):
        plan_from_rule(MODEL, GRAPH, WHOLE, 0.5, of, by)


def test_filters_are_dealt_out_in_turn_within_every_block() -> None:
    class Grouped(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(
                nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3, groups=2), nn.Flatten(), nn.Linear(64, 3)
            )

    graph = pdc.trace(Grouped().eval(), torch.zeros(1, 1, 8, 8))
    assert deal_out(graph, pdc.Plan(counts={"0": 4}, sizes={"0": 8}))["0"].tolist() == [0, 1, 0, 1, 2, 3, 2, 3]
    assert deal_out(GRAPH, WHOLE)["layer1.0.conv1"].tolist() == list(range(16))
    with pytest.raises(pdc.PDCError):
        deal_out(graph, pdc.Plan(counts={"0": 3}, sizes={"0": 8}))
