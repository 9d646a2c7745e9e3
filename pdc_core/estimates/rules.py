"""From "save this share of that" to a plan, in one call: what the app and the command line both ask for."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from pdc_core.costs import plan_cost
from pdc_core.data import Data
from pdc_core.errors import PDCError
from pdc_core.estimates.budget import (
    DamageByCount,
    inertia_damage,
    measured_damage,
    mixed_damage,
    plan_for_budget,
    plan_latency,
    uniform_damage,
)
from pdc_core.estimates.sensitivities import SENSITIVITY_IMAGES, Sensitivity
from pdc_core.estimates.sensitivities import sensitivity as measure
from pdc_core.estimates.untrained import WholeMerges
from pdc_core.graph import ChannelGraph
from pdc_core.plan import Plan
from pdc_core.registry import choices

QUANTITIES = {"macs": "MACs", "params": "parameters", "latency": "latency on this machine"}
JOINT = "joint"
MEASURED = (JOINT, "mixed", "sensitivity")  # rules that need a sensitivity
DEFAULT_RULE = JOINT
_CLUSTERINGS = 3  # per plan that is merged whole: one may be twice as bad as the next
RULES = {
    JOINT: "the least damage of all layers together",
    "mixed": "sensitivity mixed with equal ratios",
    "sensitivity": "sensitivity",
    "inertia": "inertia",
    "uniform": "same ratio in all layers",
}


def plan_from_rule(
    model: nn.Module,
    graph: ChannelGraph,
    plan: Plan,
    cut: float,
    of: str = "macs",
    by: str = DEFAULT_RULE,
    *,
    data: Data | None = None,
    sensitivity: Sensitivity | None = None,
    damage: DamageByCount | None = None,
    images: int = SENSITIVITY_IMAGES,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Plan:
    """Return the plan that saves at least a share of MACs, parameters or latency, shared out by a rule.

    Parameters
    ----------
    model : Module
        The network, in eval mode; not changed.
    graph : ChannelGraph
        Its trace.
    plan : Plan
        Its constraints hold; locked groups and clusters made by hand stay as they are.
    cut : float
        Share to save of the cost of the whole network, 0 to below 1.
    of : {"macs", "params", "latency"}
        What to save. Latency is that of one batch of 64 images on this machine.
    by : {"joint", "mixed", "sensitivity", "inertia", "uniform"}, default "joint"
        How the groups share the cut: as that one of the other rules says whose plan changes the network's answers
        least (`compare_rules`); by the divergence of the answers and the share of filters removed together
        (`mixed_damage`), by the divergence alone, by the share of the weights that centroids do not explain, or all
        alike.
    data : Data, optional
        Images for "joint", and for a measurement of the sensitivity if `sensitivity` is not given.
    sensitivity : Sensitivity, optional
        A measurement of this network, read by "joint", "mixed" and "sensitivity".
    damage : dict of str to list of float, optional
        What a rule `by` other than "joint" gives, where the caller has it already.
    images : int, default 500
        Validation images to measure on.
    seed : int, default 0
        Seed of the clustering of a measurement, 0 or more.
    progress : callable, optional
        Called before each merge of "joint" with (done, in all).

    Raises
    ------
    PDCError
        A name or the share is out of range, the constraints do not allow the cut, or there is nothing to measure on.

    Examples
    --------
    >>> from pdc_core import load_model, trace
    >>> model = load_model("resnet20", weights="random")
    >>> graph = trace(model, torch.zeros(1, 1, 8, 8))
    >>> plan = plan_from_rule(model, graph, Plan.uniform(graph, 1.0), 0.5, by="uniform")
    >>> sorted(set(plan.keep.values()))[0] < 0.55
    True
    """
    for name, given, known in (("of", of, QUANTITIES), ("by", by, RULES)):
        if given not in known:
            raise PDCError(f"{name}={given!r}: choose {choices(known)}.")
    if by == JOINT:
        if data is None:
            raise PDCError(f"The rule {JOINT} needs data: it merges whole plans and measures each on images.")
        tried = compare_rules(
            model, graph, plan, cut, of, data=data, sensitivity=sensitivity, images=images, seed=seed, progress=progress
        )
        return tried[0].plan
    damage = damage or _damage(model, graph, by, data, sensitivity, images, seed)
    if of == "latency":
        example = torch.zeros(1, *graph.input_shape, device=next(model.parameters()).device)
        return plan_for_budget(
            graph, damage, cut, plan, lambda tried: plan_latency(model, graph, tried, example), exact=False
        )
    return plan_for_budget(graph, damage, cut, plan, lambda tried: float(getattr(plan_cost(graph, tried), of)))


@dataclass(frozen=True)
class RulePlan:
    """What one rule makes of a budget.

    Attributes
    ----------
    rule : str
        A key of `RULES`.
    plan : Plan
        Its plan.
    damage : float
        Divergence of the network's answers with this plan merged, in nats: mean of `WholeMerges.damage` over seeds.
    """

    rule: str
    plan: Plan
    damage: float


def compare_rules(
    model: nn.Module,
    graph: ChannelGraph,
    plan: Plan,
    cut: float,
    of: str = "macs",
    *,
    data: Data,
    sensitivity: Sensitivity | None = None,
    images: int = SENSITIVITY_IMAGES,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[RulePlan, ...]:
    """Return the plans that the rules make of one budget, the one that changes the network's answers least first.

    No rule is the best one for every network; merged whole and not trained yet, their plans tell which it is here (our
    choice, by benchmarks/rules.py).

    Parameters
    ----------
    model : Module
        The network, in eval mode; not changed.
    graph : ChannelGraph
        Its trace.
    plan : Plan
        Its constraints hold; locked groups and clusters made by hand stay as they are.
    cut : float
        Share to save of the cost of the whole network, 0 to below 1.
    of : {"macs", "params", "latency"}
        What to save.
    data : Data
        Validation images to measure on, training images for the merge.
    sensitivity : Sensitivity, optional
        A measurement of this network; left out, it is measured.
    images : int, default 500
        Validation images to measure on.
    seed : int, default 0
        Seed of a measurement and of the first of three clusterings, 0 or more.
    progress : callable, optional
        Called before each merge with (done, in all).

    Raises
    ------
    PDCError
        As for `plan_from_rule`.
    """
    if sensitivity is None:
        sensitivity = measure(model, graph, data, images=images, seed=seed)
    rules = [rule for rule in RULES if rule != JOINT]
    plans = {rule: plan_from_rule(model, graph, plan, cut, of, rule, sensitivity=sensitivity) for rule in rules}
    distinct = list({made.model_dump_json(): made for made in plans.values()}.values())
    merges, damages = WholeMerges(model, graph, data, images=images), [0.0] * len(distinct)
    for done, (i, clustering) in enumerate(itertools.product(range(len(distinct)), range(_CLUSTERINGS))):
        if progress is not None:
            progress(done, len(distinct) * _CLUSTERINGS)
        damages[i] += merges.damage(distinct[i], seed + clustering) / _CLUSTERINGS
    found = [RulePlan(rule, made, damages[distinct.index(made)]) for rule, made in plans.items()]
    return tuple(sorted(found, key=lambda each: each.damage))


def _damage(
    model: nn.Module,
    graph: ChannelGraph,
    by: str,
    data: Data | None,
    sensitivity: Sensitivity | None,
    images: int,
    seed: int,
) -> DamageByCount:
    if by == "uniform":
        return uniform_damage(graph)
    if by == "inertia":
        return inertia_damage(model, graph)
    if sensitivity is None and data is None:
        raise PDCError(f"The rule {by} needs a measured sensitivity, or data to measure it on.")
    if sensitivity is None:
        assert data is not None
        sensitivity = measure(model, graph, data, images=images, seed=seed)
    damage = measured_damage(sensitivity, graph)
    return mixed_damage(damage, graph) if by == "mixed" else damage
