"""From "save this share of that" to a plan, in one call: what the app and the command line both ask for."""

from __future__ import annotations

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
from pdc_core.estimates.sensitivities import Sensitivity
from pdc_core.estimates.sensitivities import sensitivity as measure
from pdc_core.graph import ChannelGraph
from pdc_core.plan import Plan
from pdc_core.registry import choices

QUANTITIES = {"macs": "MACs", "params": "parameters", "latency": "latency on this machine"}
MEASURED = ("mixed", "sensitivity")  # rules that need a sensitivity
DEFAULT_RULE = "mixed"
RULES = {
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
    seed: int = 0,
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
    by : {"mixed", "sensitivity", "inertia", "uniform"}, default "mixed"
        How the groups share the cut: by the divergence of the network's answers and the share of filters removed
        together (`mixed_damage`), by the divergence alone, by the share of the weights that centroids do not explain,
        or all alike.
    data : Data, optional
        Images on which the sensitivity is measured if `sensitivity` is not given.
    sensitivity : Sensitivity, optional
        A measurement of this network, read by "mixed" and "sensitivity".
    damage : dict of str to list of float, optional
        What the rule `by` gives, where the caller has it already.
    seed : int, default 0
        Seed of the clustering of a measurement, 0 or more.

    Raises
    ------
    PDCError
        A name or the share is out of range, the constraints do not allow the cut, or there is nothing to measure the
        sensitivity on.

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
    damage = damage or _damage(model, graph, by, data, sensitivity, seed)
    if of == "latency":
        example = torch.zeros(1, *graph.input_shape, device=next(model.parameters()).device)
        return plan_for_budget(
            graph, damage, cut, plan, lambda tried: plan_latency(model, graph, tried, example), exact=False
        )
    return plan_for_budget(graph, damage, cut, plan, lambda tried: float(getattr(plan_cost(graph, tried), of)))


def _damage(
    model: nn.Module, graph: ChannelGraph, by: str, data: Data | None, sensitivity: Sensitivity | None, seed: int
) -> DamageByCount:
    if by == "uniform":
        return uniform_damage(graph)
    if by == "inertia":
        return inertia_damage(model, graph)
    if sensitivity is None and data is None:
        raise PDCError(f"The rule {by} needs a measured sensitivity, or data to measure it on.")
    if sensitivity is None:
        assert data is not None
        sensitivity = measure(model, graph, data, seed=seed)
    damage = measured_damage(sensitivity, graph)
    return mixed_damage(damage, graph) if by == "mixed" else damage
