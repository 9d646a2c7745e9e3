"""From a budget to a plan: how much less, and by which measure of damage; the counts of every group follow.

Every group gives up clusters until it alone would do the same damage; that common level rises until the budget is met.
The rule is our choice; with measured sensitivities it is the threshold rule of Li et al. (arXiv 1608.08710).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from torch import Tensor, nn

from pdc_core.clustering import filter_vectors, filter_weights, ward_linkage
from pdc_core.clustering.assignment import deal_out
from pdc_core.copies import twin
from pdc_core.costs import latency, plan_cost
from pdc_core.errors import PDCError
from pdc_core.estimates.sensitivities import Sensitivity
from pdc_core.folding import fold
from pdc_core.graph import ChannelGraph, ChannelGroup
from pdc_core.plan import Plan
from pdc_core.reconstruct import reconstruct_

SHARE = 0.5  # of the measurement in `mixed_damage`
# group -> damage at k = 0..n clusters (entry 0 is not used), 0 at n, never rising in k
DamageByCount = dict[str, list[float]]


def uniform_damage(graph: ChannelGraph) -> DamageByCount:
    """Return 1 - k/n: every group gives up the same share.

    Parameters
    ----------
    graph : ChannelGraph
        The trace of the network.
    """
    return {g.name: [1 - k / g.size for k in range(g.size + 1)] for g in graph.clusterable}


def inertia_damage(model: nn.Module, graph: ChannelGraph) -> DamageByCount:
    """Return the share of a group's weights that k centroids do not explain, from one Ward tree per group.

    sum_i D_ii ||w_i - c_(a_i)||^2 / sum_i D_ii ||w_i||^2, 0 to 1, with D the filters' squared norms.

    Parameters
    ----------
    model : Module
        The network.
    graph : ChannelGraph
        Its trace.
    """
    damage = {}
    for group in graph.clusterable:
        w, d = filter_vectors(model, group), filter_weights(model, group)
        d = d / d.max() if d.max() > 0 else np.ones(len(d))
        each, lost = group.size // group.blocks, np.zeros(group.size // group.blocks + 1)
        for b in range(group.blocks):
            own = group.block == b
            rises = ward_linkage(w[own], d[own])[:, 2] ** 2 / 2 * d[own].max()
            lost[1:each] += np.cumsum(rises)[::-1]
        lost[0] = lost[1]
        total = float((d * (w**2).sum(axis=1)).sum()) or 1.0
        # Between the multiples of a grouped convolution no count is allowed; they take the value of the next lower one.
        damage[group.name] = [float(lost[k // group.blocks]) / total for k in range(group.size + 1)]
    return damage


def measured_damage(found: Sensitivity, graph: ChannelGraph) -> DamageByCount:
    """Return the divergence of the network's answers, in nats, linear between the counts that were measured.

    Against noise, fewer clusters never do less damage than more.

    Parameters
    ----------
    found : Sensitivity
        A complete measurement.
    graph : ChannelGraph
        The trace of the network that was measured.

    Raises
    ------
    PDCError
        A group was not measured: the sensitivity was stopped, or belongs to another network.
    """
    damage = {}
    for group in graph.clusterable:
        own = found.of(group.name)
        if group.size == 1:
            damage[group.name] = [0.0, 0.0]
            continue
        if not own or own[0].n != group.size:
            raise PDCError(
                f"The sensitivity of group {group.name!r} was not measured; let the measurement finish first."
            )
        ks, values = [p.k for p in own], np.maximum.accumulate([p.divergence for p in own][::-1])[::-1].tolist()
        damage[group.name] = np.interp(range(group.size + 1), [*ks, group.size], [*values, 0.0]).tolist()
    return damage


def mixed_damage(measured: DamageByCount, graph: ChannelGraph, share: float = SHARE) -> DamageByCount:
    """Return a compromise between measured damage and the same ratio for all groups: s^t (n/k - 1)^(1 - t).

    A group that is merged alone and without training says too little about all groups merged together and trained: a
    measurement alone may leave one filter of 32 in a layer whose neighbours carry its loss. The factor n/k - 1 grows
    without bound as k falls, so that no group is cut far more than the others; alone it gives the uniform plan.

    Parameters
    ----------
    measured : dict of str to list of float
        s, from `measured_damage`.
    graph : ChannelGraph
        The trace of the network that was measured.
    share : float, default 0.5
        t, 0 to 1: 0 is the same ratio for all, 1 the measurement alone.

    Source: our choice, by benchmarks/rules.py.

    Examples
    --------
    >>> import torch
    >>> from pdc_core import load_model, trace
    >>> graph = trace(load_model("resnet20", weights=False), torch.zeros(1, 1, 8, 8))
    >>> measured = {g.name: [0.04] * g.size + [0.0] for g in graph.clusterable}
    >>> round(mixed_damage(measured, graph)["layer1.0.conv1"][8], 3)  # sqrt(0.04 (16/8 - 1))
    0.2
    """
    damage = {}
    for group in graph.clusterable:
        n, s = group.size, measured[group.name]
        by_count = [s[k] ** share * (n / k - 1) ** (1 - share) for k in range(1, n + 1)]
        damage[group.name] = [by_count[0], *by_count]
    return damage


def plan_for_budget(
    graph: ChannelGraph,
    damage: Mapping[str, list[float]],
    cut: float,
    start: Plan | None = None,
    cost: Callable[[Plan], float] | None = None,
    exact: bool = True,
) -> Plan:
    """Return the plan that does the least damage at the worst group while it saves at least `cut`.

    Parameters
    ----------
    graph : ChannelGraph
        The trace of the network.
    damage : mapping of str to list of float
        From `uniform_damage`, `inertia_damage` or `measured_damage`.
    cut : float
        Share to save of the cost of the whole network, 0 to below 1.
    start : Plan, optional
        Its constraints hold; locked groups and clusters made by hand stay as they are. Left out: no constraint.
    cost : callable, optional
        From a plan to what it costs, in any unit; left out: its MACs. See also `plan_latency`.
    exact : bool, default True
        Whether groups take back clusters, the most damaged first, as far as the budget allows. Needs a cost that is
        cheap to compute and does not jitter.

    Raises
    ------
    PDCError
        `cut` is out of range, or more than the constraints allow.

    Examples
    --------
    >>> import torch
    >>> from pdc_core import load_model, trace
    >>> graph = trace(load_model("resnet20", weights=False), torch.zeros(1, 1, 8, 8))
    >>> plan = plan_for_budget(graph, uniform_damage(graph), cut=0.5)
    >>> 0.5 <= 1 - plan_cost(graph, plan).macs / plan_cost(graph, {}).macs < 0.51
    True
    """
    if not 0 <= cut < 1:
        raise PDCError(f"cut={cut}: give the share to save, 0 (nothing) to below 1, for example 0.5.")
    start = start or Plan.uniform(graph, 1.0)
    cost = cost or (lambda plan: plan_cost(graph, plan).macs)
    whole = cost(Plan(residual=start.residual, inside=start.inside))
    ladders = {g.name: _ladder(g, start, damage[g.name]) for g in graph.clusterable}
    levels = sorted({level for ladder in ladders.values() for level, _ in ladder})

    def at(level: float) -> Plan:
        return start.replace({name: _lowest(ladder, level) for name, ladder in ladders.items()})

    low, high = 0, len(levels) - 1
    most = 1 - cost(at(levels[high])) / whole
    if most < cut:
        raise PDCError(
            f"A cut of {cut:.1%} cannot be met: these constraints and locked groups allow {most:.1%} at most; ask for "
            "less, or unlock groups."
        )
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if 1 - cost(at(levels[middle])) / whole >= cut else (middle + 1, high)
    plan = at(levels[low])
    if not exact:
        return plan
    for name in sorted(ladders, key=lambda name: -damage[name][plan.counts[name]]):
        for k in (k for _, k in ladders[name] if k > plan.counts[name]):
            richer = plan.replace({name: k})
            if 1 - cost(richer) / whole < cut:
                break
            plan = richer
    return plan


def _ladder(group: ChannelGroup, plan: Plan, damage: list[float]) -> list[tuple[float, int]]:
    """Return pairs (damage, count) that a group may take, most clusters last and damage falling."""
    n = group.size
    if group.name in plan.hand or group.name in plan.frozen:
        allowed = [plan.counts.get(group.name, n)]
    else:
        allowed = plan.allowed(group)
    if not allowed:
        raise PDCError(f"No count of clusters meets all constraints for group {group.name!r} of {n} filters.")
    return [(damage[k], k) for k in allowed]


def _lowest(ladder: list[tuple[float, int]], level: float) -> int:
    """Return the fewest clusters whose damage is within the level; the most there are if none is."""
    return next((k for damage, k in ladder if damage <= level), ladder[-1][1])


def plan_latency(
    model: nn.Module, graph: ChannelGraph, plan: Plan, example: Tensor, batch_size: int = 64, repeats: int = 5
) -> float:
    """Return the seconds of one batch on this machine, folded as the plan says; only widths matter, not which filters.

    Parameters
    ----------
    model : Module
        The network, in eval mode; not changed.
    graph : ChannelGraph
        Its trace.
    plan : Plan
        Clusters kept per group.
    example : Tensor, shape (1, c, h, w)
        On the network's device.
    batch_size : int, default 64
        Images per batch.
    repeats : int, default 5
        Timed batches, of which the median counts.
    """
    labels = deal_out(graph, plan)
    small = fold(reconstruct_(twin(model), graph, labels), graph, labels)
    return latency(small, example, (batch_size,), repeats)[batch_size]
