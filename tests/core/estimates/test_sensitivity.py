"""Sensitivity, preview and budgets: what is measured is what folding gives; a budget is met with the least damage."""

from __future__ import annotations

import copy
import sys
from itertools import pairwise, product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import pdc_core as pdc
from pdc_core.estimates import (
    Point,
    Sensitivity,
    inertia_damage,
    measured_damage,
    plan_for_budget,
    plan_latency,
    preview,
    sensitivity,
    sensitivity_key,
    uniform_damage,
)
from pdc_core.norms import reestimate_norms_
from pdc_core.plan import set_clusters
from pdc_core.reconstruct import StepwiseTying, merge_
from pdc_core.train import Training
from tests.networks import chain, lively_


@pytest.fixture(scope="module")
def data() -> pdc.Data:
    random = torch.Generator().manual_seed(0)

    def split(n: int) -> pdc.Split:
        images = torch.randint(0, 256, (n, 2, 6, 6), dtype=torch.uint8, generator=random)
        return pdc.Split(images, torch.randint(0, 3, (n,), generator=random))

    return pdc.Data("noise", split(60), split(40), split(10), ("a", "b", "c"), (2, 6, 6), (0.5, 0.5), (0.3, 0.3))


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return lively_(chain()).float()


@pytest.fixture(scope="module")
def graph(net: nn.Module) -> pdc.ChannelGraph:
    return pdc.trace(net, torch.zeros(1, 2, 6, 6))


@pytest.fixture(scope="module")
def measured(net: nn.Module, graph: pdc.ChannelGraph, data: pdc.Data) -> Sensitivity:
    return sensitivity(net, graph, data, keeps=(0.5, 0.25))


def folded_outputs(net: nn.Module, graph: pdc.ChannelGraph, plan: pdc.Plan, data: pdc.Data) -> torch.Tensor:
    """Logits on the validation images of one group merged and folded, the norms behind it re-estimated by hand."""
    (name,) = plan.counts
    labels, x = pdc.assign(net, graph, plan), data.prepare(data.train.images)
    student = copy.deepcopy(net)
    merge_(student, graph, {name: labels[name]}, {name: np.arange(len(labels[name]))}, x)
    small = pdc.fold(student, graph, labels)
    behind = [m for i, m in enumerate(small) if i > int(name) and isinstance(m, nn.BatchNorm2d)]
    for norm in behind:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        small(x)
        return small.eval()(data.prepare(data.val.images))


def test_every_point_is_what_folding_that_group_alone_gives(net, graph, data, measured) -> None:
    assert measured.complete
    assert [(p.group, p.k) for p in measured.points] == [
        ("0", 3), ("0", 1), ("3", 6), ("3", 3), ("3", 1), ("8", 4), ("8", 2), ("8", 1)
    ]  # fmt: skip
    p = F.softmax(net(data.prepare(data.val.images)), dim=1).detach()
    assert measured.accuracy == pytest.approx(float((p.argmax(1) == data.val.labels).float().mean()))
    for point in measured.points:
        q = F.softmax(folded_outputs(net, graph, pdc.Plan(counts={point.group: point.k}), data), dim=1)
        assert point.accuracy == pytest.approx(float((q.argmax(1) == data.val.labels).float().mean()))
        assert point.divergence == pytest.approx(float((p * (p / q).log()).sum(1).mean()), rel=1e-3, abs=1e-6)


def test_measuring_changes_neither_weights_nor_mode(net, graph, data) -> None:
    before = {name: t.clone() for name, t in net.state_dict().items()}
    sensitivity(net, graph, data, keeps=(0.5,))
    assert all(torch.equal(before[name], t) for name, t in net.state_dict().items())
    assert not any(module.training for module in net.modules())


def test_a_stopped_measurement_goes_on_where_it_was_and_ends_the_same(net, graph, data, measured, tmp_path) -> None:
    asked = []

    def stop_after(n: int):
        return lambda: bool(asked.append(1)) or len(asked) > n

    partial = sensitivity(net, graph, data, keeps=(0.5, 0.25), stop=stop_after(4), cache=tmp_path)
    assert len(partial.points) == 4
    assert len(asked) == 5, "once it is stopped, nothing more is asked"
    assert not partial.complete
    asked.clear()
    whole = sensitivity(net, graph, data, keeps=(0.5, 0.25), stop=stop_after(99), cache=tmp_path)
    assert len(asked) == len(measured.points) - 4  # only what was missing is measured
    assert whole == measured
    asked.clear()
    assert sensitivity(net, graph, data, keeps=(0.5, 0.25), stop=stop_after(0), cache=tmp_path) == measured
    assert not asked


def test_progress_counts_every_measurement(net, graph, data) -> None:
    seen = []
    sensitivity(net, graph, data, keeps=(0.5,), progress=lambda done, all_, so_far: seen.append((done, all_)))
    assert seen == [(i, 6) for i in range(1, 7)]


def test_the_key_depends_on_weights_images_and_settings_and_on_nothing_else(net, graph, data) -> None:
    key = sensitivity_key(net, graph, data)
    assert key == sensitivity_key(copy.deepcopy(net), graph, data)
    changed = copy.deepcopy(net)
    changed[0].weight.data[0, 0, 0, 0] += 1e-3
    other = pdc.Data(data.name, data.train, data.train, data.test, data.classes, data.shape, data.mean, data.std)
    keys = {
        key,
        sensitivity_key(changed, graph, data),
        sensitivity_key(net, graph, other),
        sensitivity_key(net, graph, data, seed=1),
        sensitivity_key(net, graph, data, keeps=(0.5,)),
        sensitivity_key(net, graph, data, images=5),
    }
    assert len(keys) == 6


def test_a_sensitivity_survives_json_and_anything_else_is_refused(measured) -> None:
    assert Sensitivity.from_json(measured.to_json()) == measured
    for text in ("", "[]", '{"points": [{}]}', '{"accuracy": 1}'):
        with pytest.raises(pdc.PDCError, match="not a sensitivity"):
            Sensitivity.from_json(text)


def test_a_drop_is_linear_between_the_points_and_the_whole_group_also_where_one_count_was_measured() -> None:
    found = Sensitivity(0.9, 100, (Point("a", 8, 4, 0.7, 0.1),), True)
    assert [found.drop("a", k) for k in (1, 4, 6, 8)] == pytest.approx([0.2, 0.2, 0.1, 0.0])
    assert found.drop("b", 1) is None


def test_settings_out_of_range_say_what_is_allowed(net, graph, data) -> None:
    for keeps in ((), (0.0,), (1.0,)):
        with pytest.raises(pdc.PDCError, match="above 0 and below 1"):
            sensitivity(net, graph, data, keeps=keeps)
    empty = pdc.Split(data.val.images[:0], data.val.labels[:0])
    blind = pdc.Data(data.name, data.train, empty, data.test, data.classes, data.shape, data.mean, data.std)
    with pytest.raises(pdc.PDCError, match="no validation images"):
        sensitivity(net, graph, blind)


def test_a_preview_is_what_a_training_begins_with_and_counts_it(net, graph, data) -> None:
    plan, x = pdc.Plan.uniform(graph, 0.5), data.prepare(data.train.images)
    seen = preview(net, graph, plan, data)
    student = copy.deepcopy(net)
    StepwiseTying(student, graph, pdc.assign(net, graph, plan), Training(merges=1), x).begin()
    expected = pdc.evaluate(reestimate_norms_(student, x), data, data.val)
    assert seen.accuracy == expected.accuracy
    assert seen.before == pdc.evaluate(net, data, data.val).accuracy
    assert (seen.macs, seen.params) == (pdc.plan_cost(graph, plan).macs, pdc.plan_cost(graph, plan).params)


# -- budgets ---------------------------------------------------------------------------------------------


def _random_damage(graph: pdc.ChannelGraph, seed: int) -> dict[str, list[float]]:
    random = np.random.default_rng(seed)
    return {g.name: [*np.sort(random.random(g.size))[::-1], 0.0] for g in graph.clusterable}


@pytest.mark.parametrize(("cut", "seed"), [(0.1, 0), (0.35, 1), (0.6, 2), (0.85, 3)])
def test_no_other_counts_meet_the_budget_with_less_damage_at_the_worst_group(graph, cut: float, seed: int) -> None:
    damage = _random_damage(graph, seed)
    whole = pdc.plan_cost(graph, {}).macs

    def worst(counts: dict[str, int]) -> float:
        return max(damage[name][k] for name, k in counts.items())

    names, sizes = zip(*((g.name, g.size) for g in graph.clusterable), strict=True)
    everything = (dict(zip(names, ks, strict=True)) for ks in product(*(range(1, n + 1) for n in sizes)))
    meets = [c for c in everything if 1 - pdc.plan_cost(graph, c).macs / whole >= cut]
    for exact in (False, True):
        plan = plan_for_budget(graph, damage, cut, exact=exact)
        assert plan.counts in meets
        assert worst(plan.counts) == min(map(worst, meets))
    richer = [{**plan.counts, g.name: plan.counts[g.name] + 1} for g in graph.clusterable]
    assert not any(counts in meets for counts in richer)


def test_constraints_locks_and_clusters_by_hand_hold_in_a_plan_for_a_budget(graph) -> None:
    start = pdc.Plan.uniform(graph, 1.0, round_to=2, bounds={"8": (6, 6)})
    plan = plan_for_budget(graph, uniform_damage(graph), 0.5, start)
    assert plan.counts["8"] == 6
    assert all(k % 2 == 0 for k in plan.counts.values())
    assert plan.check(graph) is plan
    hand = set_clusters(pdc.Plan.uniform(graph, 1.0), "3", [0] * 10 + [1, 2])
    plan = plan_for_budget(graph, uniform_damage(graph), 0.8, hand)
    assert plan.counts["3"] == 3
    assert plan.hand == hand.hand


def test_a_budget_that_cannot_be_met_says_what_can(graph) -> None:
    start = pdc.Plan.uniform(graph, 1.0, min=4)
    least = 1 - pdc.plan_cost(graph, {"0": 4, "3": 4, "8": 4}).macs / pdc.plan_cost(graph, {}).macs
    with pytest.raises(pdc.PDCError, match=f"allow {least:.1%} at most"):
        plan_for_budget(graph, uniform_damage(graph), 0.95, start)
    for cut in (-0.01, 1.0):
        with pytest.raises(pdc.PDCError, match=r"0 \(nothing\) to below 1"):
            plan_for_budget(graph, uniform_damage(graph), cut)


def test_a_budget_may_be_of_any_cost(graph) -> None:
    plan = plan_for_budget(graph, uniform_damage(graph), 0.5, cost=lambda plan: pdc.plan_cost(graph, plan).params)
    saved = 1 - pdc.plan_cost(graph, plan).params / pdc.plan_cost(graph, {}).params
    assert 0.5 <= saved < 0.6


def test_inertia_damage_is_the_share_of_the_weights_that_centroids_lose() -> None:
    from pdc_core.clustering import cut_tree, ward_linkage

    net = lively_(nn.Sequential(nn.Conv2d(2, 8, 1), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 3, 1)))
    graph = pdc.trace(net, torch.zeros(1, 2, 6, 6))
    damage = inertia_damage(net, graph)
    for name in ("0", "1"):
        w, d = pdc.filter_vectors(net, graph.group(name)), pdc.filter_weights(net, graph.group(name))
        for each in (1, 2, 3, 4):
            lost = 0.0
            for own in (slice(0, 4), slice(4, 8)):
                labels = cut_tree(ward_linkage(w[own], d[own]), each)
                for c in range(each):
                    rows = labels == c
                    centre = np.average(w[own][rows], axis=0, weights=d[own][rows])
                    lost += (d[own][rows] * ((w[own][rows] - centre) ** 2).sum(1)).sum()
            assert damage[name][2 * each] == pytest.approx(lost / (d * (w**2).sum(1)).sum(), abs=1e-12)


def test_measured_damage_goes_through_the_points_and_never_rises_with_more_clusters(graph, measured) -> None:
    damage = measured_damage(measured, graph)
    for group in graph.clusterable:
        values, worst = damage[group.name], 0.0
        assert values[group.size] == 0
        assert all(a >= b for a, b in pairwise(values))
        for point in sorted(measured.of(group.name), key=lambda p: -p.k):
            worst = max(worst, point.divergence)
            assert values[point.k] == pytest.approx(worst)
    with pytest.raises(pdc.PDCError, match="'3' was not measured"):
        measured_damage(Sensitivity(1.0, 1, (Point("0", 6, 3, 1.0, 0.0),), False), graph)


def test_latency_is_measured_on_the_widths_of_the_plan(net, graph, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(
        sys.modules["pdc_core.estimates.budget"],
        "latency",
        lambda model, example, sizes, repeats: seen.append(pdc.cost(model, example).macs) or {sizes[0]: 0.5},
    )
    plan = pdc.Plan.uniform(graph, 0.5)
    assert plan_latency(net, graph, plan, torch.zeros(1, 2, 6, 6), batch_size=8) == 0.5
    assert seen == [pdc.plan_cost(graph, plan).macs]
