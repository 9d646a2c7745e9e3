"""What the bars of a network show: filters before and after a plan, and the value that colours them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pdc_core.charts.palette import short
from pdc_core.costs import Cost, plan_cost
from pdc_core.errors import PDCError
from pdc_core.estimates import Sensitivity
from pdc_core.graph import ChannelGraph, ChannelGroup
from pdc_core.plan import Plan, parse_plan

QUANTITIES = {
    "macs": "MACs of each layer with this plan, for one image",
    "params": "parameters of each layer with this plan",
    "sensitivity": "accuracy lost if only this layer is clustered, in points",
}
# From cheap to dear, ever darker, so that the order shows without colour vision and in print. Our choice.
RAMP = ("#fbe3a6", "#f3ad5f", "#dd6c48", "#a63a60", "#652674")


@dataclass(frozen=True)
class Values:
    """Every layer's filters and value, by its index in the graph.

    Attributes
    ----------
    before, after : Cost
        Of the network, and with the plan.
    counts : dict of str to int
        Clusters kept in each group that can be clustered.
    coloured : dict of int to float
        The value of each layer that has one.
    quantity : {"macs", "params", "sensitivity"}
        What is coloured.
    """

    before: Cost
    after: Cost
    counts: dict[str, int]
    coloured: dict[int, float]
    quantity: str

    def number(self, value: float) -> str:
        """Write a value as people read it.

        Parameters
        ----------
        value : float
            A value of `coloured`.
        """
        return f"{value:.1f}" if self.quantity == "sensitivity" else short(value)


def values_of(
    graph: ChannelGraph, plan: Plan | Mapping[str, int] | None, quantity: str, found: Sensitivity | None
) -> Values:
    """Return what a picture of a network shows.

    Parameters
    ----------
    graph : ChannelGraph
        The trace of the network.
    plan : Plan or mapping of str to int, optional
        Clusters kept by group; left out, nothing is pruned.
    quantity : {"macs", "params", "sensitivity"}
        What is coloured.
    found : Sensitivity, optional
        Measured before, for "sensitivity".

    Raises
    ------
    PDCError
        There is no such quantity, no sensitivity is given, or the plan does not fit the graph.
    """
    if quantity not in QUANTITIES:
        raise PDCError(f"colour={quantity!r} is not known; choose one of {', '.join(QUANTITIES)}.")
    if quantity == "sensitivity" and found is None:
        raise PDCError("colour='sensitivity' needs a measurement; give sensitivity=pdc.sensitivity(...).")
    counts = _counts(graph, plan)
    before, after = plan_cost(graph, {}), plan_cost(graph, counts)
    coloured: dict[int, float] = {}
    for i, (layer, cost) in enumerate(zip(graph.layers, after.layers, strict=True)):
        if quantity != "sensitivity":
            coloured[i] = float(cost.macs if quantity == "macs" else cost.params)
            continue
        assert found is not None
        own = [graph.groups[g] for g, _ in layer.narrows_out]
        lost = [found.drop(g.name, counts[g.name]) for g in own if g.frozen is None]
        known = [100 * each for each in lost if each is not None]
        if known:
            coloured[i] = max(0.0, *known)
    return Values(before, after, counts, coloured, quantity)


def _counts(graph: ChannelGraph, plan: Plan | Mapping[str, int] | None) -> dict[str, int]:
    whole: dict[str, int] = {group.name: group.size for group in graph.clusterable}
    given = {} if plan is None else plan.counts if isinstance(plan, Plan) else dict(plan)
    bare = {"counts": given, "residual": graph.residual, "inside": graph.inside}
    (plan if isinstance(plan, Plan) else parse_plan(bare, "this plan")).check(graph)
    return whole | given


def groups_of(graph: ChannelGraph, layer: int) -> list[ChannelGroup]:
    """Return the groups of a layer's filters that can be clustered.

    Parameters
    ----------
    graph : ChannelGraph
        The trace of the network.
    layer : int
        Index in `graph.layers`.
    """
    own = dict.fromkeys(g for g, _ in graph.layers[layer].narrows_out)
    return [graph.groups[g] for g in own if graph.groups[g].frozen is None]


def shade(share: float) -> str:
    """Return the colour of a value from 0 (cheap, light) to 1 (dear, dark).

    Parameters
    ----------
    share : float
        The value divided by the largest; values outside 0..1 have the colour of the nearer end.

    Examples
    --------
    >>> shade(0), shade(0.125), shade(7)
    ('#fbe3a6', '#f7c883', '#652674')
    """
    t = min(max(share, 0.0), 1.0) * (len(RAMP) - 1)
    i = min(int(t), len(RAMP) - 2)
    low, high = (bytes.fromhex(RAMP[j][1:]) for j in (i, i + 1))
    mixed = (round(a + (t - i) * (b - a) + 1e-9) for a, b in zip(low, high, strict=True))
    return "#" + "".join(f"{each:02x}" for each in mixed)
