"""Plans: counts within range, checked line by line against the graph, the same after a round trip."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import pdc_core as pdc
from tests.networks import chain, lively_

GRAPH = pdc.trace(lively_(chain()), torch.zeros(1, 2, 6, 6))


@pytest.fixture
def graph() -> pdc.ChannelGraph:
    return GRAPH


@given(keep=st.floats(1e-6, 1.0))
def test_uniform_keeps_the_rounded_share_and_at_least_one(keep: float) -> None:
    graph = GRAPH
    plan = pdc.Plan.uniform(graph, keep)
    assert plan.counts == {g.name: max(1, round(keep * g.size)) for g in graph.clusterable}
    assert plan.check(graph) is plan


@pytest.mark.parametrize("keep", [0, -0.5, 1.01, float("nan")])
def test_a_keep_ratio_outside_0_to_1_is_refused(graph: pdc.ChannelGraph, keep: float) -> None:
    with pytest.raises(pdc.PDCError, match="above 0 and at most 1"):
        pdc.Plan.uniform(graph, keep)


@pytest.mark.parametrize("k", [0, -3, 7, 100])
def test_counts_out_of_range_say_what_is_allowed(graph: pdc.ChannelGraph, k: int) -> None:
    with pytest.raises(pdc.PDCError, match=rf"{k} clusters for group '0': allowed are 1 to 6"):
        pdc.Plan.uniform(graph).replace({"0": k})
    if k > 0:
        with pytest.raises(pdc.PDCError, match="allowed are 1 to 6"):
            pdc.Plan(counts={"0": k}).check(graph)


def test_a_plan_for_another_network_is_refused_with_what_differs(graph: pdc.ChannelGraph) -> None:
    other = pdc.trace(pdc.load_model("resnet20", weights=False), torch.zeros(1, 1, 8, 8))
    plan = pdc.Plan.uniform(other, 0.5, model="resnet20")
    with pytest.raises(pdc.PDCError) as refused:
        plan.check(graph)
    said = str(refused.value)
    assert "made for resnet20" in said
    assert "no group 'layer1.0.conv1'" in said
    assert "The network's groups are 0, 3, 8" in said
    first = ", ".join(g.name for g in other.clusterable[:4])
    with pytest.raises(pdc.PDCError, match=f"groups are {first}, \\.\\.\\."):
        pdc.Plan(sizes={"0": 6}).check(other)


def test_another_size_is_refused(graph: pdc.ChannelGraph) -> None:
    with pytest.raises(pdc.PDCError, match="group '0' has 6 filters, but 16 in the plan"):
        pdc.Plan(counts={"0": 2}, sizes={"0": 16}).check(graph)


def test_a_frozen_group_is_refused_with_its_reason(graph: pdc.ChannelGraph) -> None:
    with pytest.raises(pdc.PDCError, match=r"group '10' is frozen .*output"):
        pdc.Plan(counts={"10": 2}).check(graph)


def test_another_residual_treatment_is_refused(graph: pdc.ChannelGraph) -> None:
    with pytest.raises(pdc.PDCError, match="residual='shared'"):
        pdc.Plan(residual="shared").check(graph)


def test_counts_that_do_not_divide_into_convolution_groups_are_refused() -> None:
    net = nn.Sequential(nn.Conv2d(2, 8, 1), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 3, 1)).eval()
    graph = pdc.trace(net, torch.zeros(1, 2, 6, 6))
    assert pdc.Plan.uniform(graph, 0.4).counts == {"0": 4, "1": 4}
    with pytest.raises(pdc.PDCError, match="multiples of 2"):
        pdc.Plan(counts={"0": 3}).check(graph)


def test_a_plan_survives_json_yaml_and_a_file(graph: pdc.ChannelGraph, tmp_path: Path) -> None:
    plan = pdc.Plan.uniform(graph, 0.5, model="mine")
    assert pdc.Plan.from_json(plan.to_json()) == plan
    assert pdc.Plan.from_json("counts:\n  '0': 3\n").counts == {"0": 3}
    plan.save(tmp_path / "plan.json")
    assert pdc.Plan.load(tmp_path / "plan.json") == plan


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{not json", "neither JSON nor YAML"),
        (b"\xff\xfe\x00", "neither JSON nor YAML"),
        ("[1, 2]", "expected a mapping"),
        ("just words", "expected a mapping"),
        (json.dumps({"counts": {"0": "many"}}), "counts.0"),
        (json.dumps({"counts": {"0": 0}}), "allowed are 1 or more"),
        (json.dumps({"count": {}}), "count"),
        (json.dumps({"residual": "magic"}), "residual"),
        ("!!python/object/apply:os.system ['true']", "neither JSON nor YAML"),
    ],
)
def test_text_that_is_no_plan_is_refused_in_words(text: str | bytes, said: str) -> None:
    with pytest.raises(pdc.PDCError, match=said):
        pdc.Plan.from_json(text)


def test_a_missing_plan_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pdc.PDCError, match="cannot be read"):
        pdc.Plan.load(tmp_path / "none.json")


@given(keep=st.floats(0.01, 1.0), round_to=st.integers(1, 8), minimum=st.integers(1, 20))
def test_constraints_hold_in_every_uniform_plan(keep: float, round_to: int, minimum: int) -> None:
    graph = GRAPH
    plan = pdc.Plan.uniform(graph, keep, round_to=round_to, min=minimum, frozen=("8",), bounds={"3": (2, 12)})
    for group in graph.clusterable:
        k = plan.counts[group.name]
        assert k == group.size or (k % round_to == 0 and k >= minimum)
    assert plan.counts["8"] == 8
    assert plan.counts["3"] >= 2
    assert plan.check(graph) is plan
    assert pdc.Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    ("constraints", "k", "said"),
    [
        ({"round_to": 4}, 6, "multiples of 4"),
        ({"min": 5}, 3, "allows 5 or more"),
        ({"frozen": ("3",)}, 6, "keeps all its filters"),
        ({"bounds": {"3": (2, 4)}}, 6, "allows 2 to 4"),
        ({"bounds": {"3": (2, 4)}}, 12, "allows 2 to 4"),
        ({"bounds": {"3": (5, 7)}, "round_to": 8}, 6, "No count of clusters"),
        ({"bounds": {"3": (4, 2)}}, 6, "fewest <= most"),
        ({"frozen": ("nowhere",)}, 6, "no group 'nowhere'"),
    ],
)
def test_counts_outside_the_constraints_say_what_is_allowed(
    graph: pdc.ChannelGraph, constraints: dict[str, object], k: int, said: str
) -> None:
    with pytest.raises(pdc.PDCError, match=said):
        pdc.Plan.uniform(graph, 1.0, **constraints).replace({"3": k})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"round_to": 0}, "round_to"),
        ({"min": 0}, "min"),
        ({"bounds": {"a": (0, 3)}}, "1 <= fewest <= most"),
        ({"bounds": {"a": (3, 2)}}, "1 <= fewest <= most"),
        ({"pinned": {"a": (-1,)}}, "a"),
        ({"pinned": {"a": (4,)}}, "a"),
        ({"pinned": {"a": (1, 1)}}, "a"),
        ({"counts": {"a": 3}, "hand": {"a": (0, 0, 1, 1)}}, "a"),
        ({"counts": {"a": 1}, "hand": {"a": (0, 0, 1, 1)}}, "a"),
    ],
)
def test_values_just_out_of_range_are_refused(given: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        pdc.Plan(sizes={"a": 4}, **given)


def test_values_just_in_range_are_taken() -> None:
    plan = pdc.Plan(sizes={"a": 4}, round_to=1, min=1, bounds={"a": (1, 1)}, pinned={"a": (0, 3)})
    assert plan.bounds == {"a": (1, 1)}
    assert pdc.Plan(sizes={"a": 4}, counts={"a": 2}, hand={"a": (0, 0, 1, 1)}).hand


def test_a_plan_is_written_for_people_to_read(graph: pdc.ChannelGraph) -> None:
    plan = pdc.Plan.uniform(graph, 0.5)
    assert plan.to_json() == json.dumps(plan.model_dump(mode="json"), indent=2, ensure_ascii=False)
    assert plan.to_json().splitlines()[1].startswith('  "')
