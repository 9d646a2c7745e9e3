"""A plan for a budget against brute force: every count of every group of small networks is tried."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

import pdc_core as pdc
from pdc_core.estimates import plan_for_budget, uniform_damage
from tests.networks import chain, lively_

Counts = dict[str, int]
Damage = dict[str, list[float]]


def graphs() -> dict[str, pdc.ChannelGraph]:
    nets = {
        "chain": lively_(chain()).float(),
        "wide": nn.Sequential(
            nn.Conv2d(2, 9, 3), nn.ReLU(), nn.Conv2d(9, 3, 1), nn.ReLU(), nn.Conv2d(3, 7, 1), nn.Conv2d(7, 2, 1)
        ),
        "grouped": nn.Sequential(
            nn.Conv2d(2, 8, 1), nn.Conv2d(8, 6, 3, groups=2), nn.Conv2d(6, 5, 1), nn.Conv2d(5, 2, 1)
        ),
    }
    return {name: pdc.trace(net.eval(), torch.zeros(1, 2, 6, 6)) for name, net in nets.items()}


GRAPHS = graphs()


def random_damage(graph: pdc.ChannelGraph, seed: int) -> Damage:
    """Damage that falls with every cluster, from 3 of one group to 1 of another."""
    random = np.random.default_rng(seed)
    return {
        g.name: [*(scale * np.sort(random.random(g.size))[::-1]), 0.0]
        for g, scale in zip(graph.clusterable, np.linspace(3, 1, len(graph.clusterable)), strict=True)
    }


def brute_force(graph: pdc.ChannelGraph, damage: Damage, cut: float, quantity: str) -> tuple[Counts, Counts, Counts]:
    """The plan of the least common level of damage that meets the budget, and the same after clusters are given back.

    Given back is to the most damaged group first: of all counts that are no smaller and still meet the budget, those
    whose most damaged group is largest, then whose second is, and so on. Third, what the opposite order would give.
    """
    groups, whole = graph.clusterable, getattr(pdc.plan_cost(graph, {}), quantity)
    allowed = [[k for k in range(1, g.size + 1) if k % g.blocks == 0] for g in groups]
    every = [{g.name: k for g, k in zip(groups, ks, strict=True)} for ks in product(*allowed)]
    meets = [c for c in every if 1 - getattr(pdc.plan_cost(graph, c), quantity) / whole >= cut]
    level = min(max(damage[name][k] for name, k in counts.items()) for counts in meets)
    base = {g.name: min(k for k in ks if damage[g.name][k] <= level) for g, ks in zip(groups, allowed, strict=True)}
    order = sorted(base, key=lambda name: -damage[name][base[name]])
    richer = [c for c in meets if all(c[name] >= base[name] for name in base)]
    first, last = (max(richer, key=lambda c: [c[name] for name in names]) for names in (order, order[::-1]))
    return base, first, last


CASES = [(0.1, 0), (0.2, 1), (0.35, 2), (0.5, 3), (0.6, 4), (0.7, 5), (0.85, 6)]


@pytest.mark.parametrize("quantity", ["macs", "params"])
def test_a_budget_is_met_as_brute_force_meets_it(quantity: str) -> None:
    told_apart = 0
    for graph in GRAPHS.values():

        def cost(plan: pdc.Plan, graph: pdc.ChannelGraph = graph) -> float:
            return float(getattr(pdc.plan_cost(graph, plan), quantity))

        for cut, seed in CASES:
            damage = random_damage(graph, seed)
            base, first, last = brute_force(graph, damage, cut, quantity)
            assert plan_for_budget(graph, damage, cut, cost=cost, exact=False).counts == base
            assert plan_for_budget(graph, damage, cut, cost=cost).counts == first
            told_apart += first != last
    assert told_apart >= 2, "the order of giving back made no difference anywhere"


def test_the_most_damaged_group_gets_its_clusters_back_first() -> None:
    """Two equal layers and room for one cluster more: the one that has lost more gets it."""
    net = nn.Sequential(*(nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 1, 1)) for _ in range(2))).eval()
    graph = pdc.trace(net, torch.zeros(1, 1, 2, 2))
    first, between, second = (g.name for g in graph.clusterable)
    for more, less in ((first, second), (second, first)):
        damage = {more: [9, 9, 0.5, 0.5, 0.0], less: [9, 9, 0.4, 0.1, 0.0], between: [9, 0]}
        plan = plan_for_budget(graph, damage, 0.375)  # 10 of 16 weights may stay, and every cluster has 2
        assert plan.counts == {more: 3, less: 2, between: 1}


def test_no_cut_keeps_every_filter_and_ties_in_damage_do_not_matter() -> None:
    graph = GRAPHS["chain"]
    assert plan_for_budget(graph, uniform_damage(graph), 0.0).counts == {g.name: g.size for g in graph.clusterable}
    level = {g.name: [1.0] * g.size + [0.0] for g in graph.clusterable}
    plan = plan_for_budget(graph, level, 0.3)
    saved = 1 - pdc.plan_cost(graph, plan).macs / pdc.plan_cost(graph, {}).macs
    assert saved >= 0.3


def test_uniform_damage_is_the_share_that_is_gone() -> None:
    for graph in GRAPHS.values():
        damage = uniform_damage(graph)
        assert set(damage) == {g.name for g in graph.clusterable}
        for group in graph.clusterable:
            assert damage[group.name] == pytest.approx([(group.size - k) / group.size for k in range(group.size + 1)])
