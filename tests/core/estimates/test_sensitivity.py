"""Sensitivity, preview and budgets: what is measured is what folding gives; a budget is met with the least damage."""

from __future__ import annotations

import copy
import dataclasses
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
    mixed_damage,
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


def plain_way(net: nn.Module, graph: pdc.ChannelGraph, data: pdc.Data, counts: dict[str, int]) -> torch.Tensor:
    """Logits on the validation images of some groups merged and folded, everything computed from the first layer on."""
    labels = {name: pdc.assign(net, graph, pdc.Plan(counts=counts, residual=graph.residual))[name] for name in counts}
    student = copy.deepcopy(net)
    merge_(
        student, graph, labels, {name: np.arange(len(a)) for name, a in labels.items()}, data.prepare(data.train.images)
    )
    with torch.no_grad():
        return pdc.fold(student, graph, labels)(data.prepare(data.val.images))


def check_points(net: nn.Module, graph: pdc.ChannelGraph, data: pdc.Data, measured: Sensitivity) -> None:
    """Assert that every point is what the plain way gives."""
    with torch.no_grad():
        p = F.softmax(net(data.prepare(data.val.images)), dim=1).double()
    assert measured.complete
    assert measured.accuracy == pytest.approx(float((p.argmax(1) == data.val.labels).float().mean()))
    for point in measured.points:
        q = F.softmax(plain_way(net, graph, data, {point.group: point.k}), dim=1).double()
        assert point.accuracy == pytest.approx(float((q.argmax(1) == data.val.labels).float().mean()))
        assert point.divergence == pytest.approx(float((p * (p / q).log()).sum(1).mean()), rel=1e-3, abs=1e-5)


def test_every_point_is_what_merging_and_folding_that_group_alone_gives(net, graph, data, measured) -> None:
    assert [(p.group, p.k) for p in measured.points] == [
        ("0", 3), ("0", 1), ("3", 6), ("3", 3), ("3", 1), ("8", 4), ("8", 2), ("8", 1)
    ]  # fmt: skip
    check_points(net, graph, data, measured)


def narrow_vgg() -> nn.Sequential:
    """Stages of two convolutions and a pooling, as VGG has them, a few channels wide."""
    layers: list[nn.Module] = []
    for planes, width in ((3, 8), (8, 8), (8, 16), (16, 16)):
        layers += [nn.Conv2d(planes, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        if planes == width:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Dropout(), nn.Linear(12, 3))


NETWORKS = {
    "resnet20": (lambda: pdc.build_model("resnet20", 3, 3, size=8), 8),
    "vgg": (narrow_vgg, 8),
    "mobilenet_v2": (lambda: pdc.torchvision().models.mobilenet_v2(num_classes=3, width_mult=0.25), 32),
    "densenet": (lambda: pdc.torchvision().models.DenseNet(8, (2, 2), 16, num_classes=3), 32),
}


@pytest.mark.parametrize(
    ("name", "residual"),
    [("resnet20", "internal"), ("resnet20", "shared"), ("resnet20", "gather"), ("vgg", "internal"),
     ("mobilenet_v2", "internal"), ("mobilenet_v2", "shared"), ("densenet", "internal")],
)  # fmt: skip
def test_every_point_of_a_network_is_what_the_plain_way_gives(name: str, residual: str) -> None:
    build, size = NETWORKS[name]
    net = lively_(build().eval()).float()
    random = torch.Generator().manual_seed(0)

    def split(n: int) -> pdc.Split:
        images = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=random)
        return pdc.Split(images, torch.randint(0, 3, (n,), generator=random))

    parts, norm = (split(12), split(8), split(4)), (0.5, 0.5, 0.5)
    data = pdc.Data("noise", *parts, ("a", "b", "c"), (3, size, size), norm, norm)
    graph = pdc.trace(net, data.example, residual)
    few = dataclasses.replace(graph, groups=graph.groups[:: max(1, len(graph.groups) // 6)])
    measured = sensitivity(net, few, data, keeps=(0.5,))
    assert measured.points
    check_points(net, graph, data, measured)


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


@pytest.mark.parametrize("vectors", ["raw", "activations"])
def test_a_preview_is_a_runs_student_right_after_its_merge(net, graph, data, vectors: str, monkeypatch) -> None:
    plan = pdc.Plan.uniform(graph, 0.5, vectors=vectors)
    students = []
    begin = StepwiseTying.begin
    monkeypatch.setattr(
        StepwiseTying, "begin", lambda tying: (begin(tying), students.append(copy.deepcopy(tying.model)))
    )
    pdc.distil(net, plan, data, seed=3, settings=pdc.Training(epochs=1, merges=1, batch_size=20))
    seen, (student,) = preview(net, graph, plan, data, seed=3), students
    expected = pdc.evaluate(student.eval(), data, data.val)
    assert seen.accuracy == expected.accuracy
    again = reestimate_norms_(student, data.prepare(data.train.images))
    assert seen.recalibrated == pdc.evaluate(again, data, data.val).accuracy
    assert seen.before == pdc.evaluate(net, data, data.val).accuracy
    assert (seen.macs, seen.params) == (pdc.plan_cost(graph, plan).macs, pdc.plan_cost(graph, plan).params)


def test_a_preview_of_a_plan_that_merges_nothing_is_the_network_itself(net, graph, data) -> None:
    seen = preview(net, graph, pdc.Plan.uniform(graph, 1.0), data)
    assert seen.accuracy == seen.before


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


def test_a_mixed_damage_lies_between_the_measurement_and_the_same_ratio_for_all(graph, measured) -> None:
    damage = measured_damage(measured, graph)
    for cut in (0.3, 0.6):
        assert plan_for_budget(graph, mixed_damage(damage, graph, 0.0), cut) == plan_for_budget(
            graph, uniform_damage(graph), cut
        )
        assert plan_for_budget(graph, mixed_damage(damage, graph, 1.0), cut) == plan_for_budget(graph, damage, cut)
    for group in graph.clusterable:
        mixed = mixed_damage(damage, graph, 0.25)[group.name]
        assert mixed[group.size] == 0
        assert all(a >= b for a, b in pairwise(mixed))
        k = group.size // 2
        assert mixed[k] == pytest.approx(damage[group.name][k] ** 0.25 * (group.size / k - 1) ** 0.75)


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
