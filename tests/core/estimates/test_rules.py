"""Budget to plan and preview: the command line gets what the library gives, and names out of range are refused."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import pdc_core as pdc
from pdc_core.clustering import deal_out
from pdc_core.estimates import QUANTITIES, RULES, Sensitivity, plan_from_rule, preview, sensitivity, uniform_damage

MODEL = pdc.load_model("resnet20")
GRAPH = pdc.trace(MODEL, torch.zeros(1, 1, 8, 8))
WHOLE = pdc.Plan.uniform(GRAPH, 1.0, model="resnet20")


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PDC_RUNS", str(tmp_path))


@pytest.fixture(scope="module")
def measured() -> Sensitivity:
    return sensitivity(MODEL, GRAPH, pdc.load_data("digits"))


def stepwise(model: nn.Module, example: Tensor, batches: Sequence[int], repeats: int) -> dict[int, float]:
    """A machine that computes channels in lots, whose size depends on the batch: another batch size, another plan."""
    widths = [module.out_channels for module in model.modules() if isinstance(module, nn.Conv2d)]
    return {b: float(sum(math.ceil(width / (b / 8)) for width in widths)) for b in batches}


@pytest.mark.parametrize(
    ("of", "by"),
    [("macs", "mixed"), ("macs", "sensitivity"), ("params", "inertia"), ("macs", "uniform"), ("latency", "inertia")],
)
def test_the_command_line_makes_the_plan_of_the_library(
    of: str, by: str, measured: Sensitivity, monkeypatch: pytest.MonkeyPatch, pdc_command
) -> None:
    monkeypatch.setattr("pdc_core.estimates.budget.latency", stepwise)
    code, out, _ = pdc_command("plan", "--cut", 0.3, "--of", of, "--by", by, "--json")
    assert code == 0
    counts = json.loads(out)["plan"]["counts"]
    assert plan_from_rule(MODEL, GRAPH, WHOLE, 0.3, of, by, sensitivity=measured).counts == counts
    assert counts != WHOLE.counts
    if of == "latency":
        small = stepwise(pdc.fold(*folded(counts)), torch.zeros(1), [64], 1)[64]
        assert 1 - small / stepwise(MODEL, torch.zeros(1), [64], 1)[64] >= 0.3


def test_a_budget_goes_by_the_mixed_rule_where_none_is_named(measured: Sensitivity, pdc_command) -> None:
    code, out, _ = pdc_command("plan", "--cut", 0.8, "--json")
    assert code == 0
    mixed = plan_from_rule(MODEL, GRAPH, WHOLE, 0.8, sensitivity=measured)
    assert json.loads(out)["plan"]["counts"] == mixed.counts
    assert mixed == plan_from_rule(MODEL, GRAPH, WHOLE, 0.8, by="mixed", sensitivity=measured)
    others = [plan_from_rule(MODEL, GRAPH, WHOLE, 0.8, by=by, sensitivity=measured) for by in RULES if by != "mixed"]
    assert mixed not in others


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
    data = pdc.load_data("digits")
    assert plan_from_rule(MODEL, GRAPH, WHOLE, 0.4, data=data) == plan_from_rule(
        MODEL, GRAPH, WHOLE, 0.4, sensitivity=measured
    )
    with pytest.raises(pdc.PDCError, match="needs a measured sensitivity, or data"):
        plan_from_rule(MODEL, GRAPH, WHOLE, 0.4)


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
