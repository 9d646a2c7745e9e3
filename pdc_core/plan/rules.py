"""The rules of a plan: which clusters and which counts it allows, in words that a person can act on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pdc_core.errors import PDCError
from pdc_core.graph import ChannelGraph, ChannelGroup


class Rules(Protocol):
    """The part of a `Plan` that rules look at; its attributes are documented there."""

    @property
    def model(self) -> str | None: ...
    @property
    def residual(self) -> str: ...
    @property
    def inside(self) -> str: ...
    @property
    def counts(self) -> Mapping[str, int]: ...
    @property
    def sizes(self) -> Mapping[str, int]: ...
    @property
    def round_to(self) -> int: ...
    @property
    def min(self) -> int: ...
    @property
    def frozen(self) -> tuple[str, ...]: ...
    @property
    def bounds(self) -> Mapping[str, tuple[int, int]]: ...
    @property
    def hand(self) -> Mapping[str, tuple[int, ...]]: ...
    @property
    def pinned(self) -> Mapping[str, tuple[int, ...]]: ...


def refuse_hand(plan: Rules, name: str) -> str | None:
    """Return in words why the clusters by hand, or the pins, of one group are not valid, or None.

    Parameters
    ----------
    plan : Plan
        The plan.
    name : str
        The group.

    Returns
    -------
    str or None
        None if they are valid.
    """
    n, k, pins = plan.sizes.get(name), plan.counts.get(name), plan.pinned.get(name, ())
    labels = plan.hand.get(name)
    n = n if n is not None or labels is None else len(labels)
    if any(i < 0 or (n is not None and i >= n) for i in pins) or len(set(pins)) != len(pins):
        return f"pinned filters {list(pins)} of group {name!r}: give each once, 0 to {(n or 1) - 1}"
    if labels is None:
        return None
    if len(labels) != n or min(labels, default=-1) < 0:
        return f"clusters by hand of group {name!r}: give {n} labels of 0 or more, one per filter, not {len(labels)}"
    if len(set(labels)) != k:
        return f"clusters by hand of group {name!r} are {len(set(labels))}, but its count is {k}: make them equal"
    shared = [i for i in pins if labels.count(labels[i]) > 1]
    return f"filter {shared[0]} of group {name!r} is pinned and stays alone: unpin it first" if shared else None


def refuse_count(plan: Rules, name: str, k: int, n: int | None, group: ChannelGroup | None = None) -> str | None:
    """Return in words why a group may not keep k clusters, or None.

    Parameters
    ----------
    plan : Plan
        The plan.
    name : str
        The group.
    k : int
        Clusters.
    n : int or None
        Filters of the group, if known.
    group : ChannelGroup, optional
        The group of the network, if known.

    Returns
    -------
    str or None
        None if it may.
    """
    blocks = group.blocks if group is not None else 1
    given = f"{k} clusters for group {name!r}"
    if k < 1 or (n is not None and k > n):
        return f"{given}: allowed are {f'1 to {n}' if n is not None else '1 or more'}"
    if name in plan.bounds and not plan.bounds[name][0] <= k <= plan.bounds[name][1]:
        return f"{given}: this plan allows {plan.bounds[name][0]} to {plan.bounds[name][1]}"
    if k == n:
        return None
    if name in plan.frozen:
        return f"{given}: it is frozen in this plan and keeps all its filters"
    if k < plan.min:
        return f"{given}: this plan allows {plan.min} or more"
    if k % blocks:
        return f"{given}: only multiples of {blocks}, because of a grouped convolution with {blocks} groups"
    if name in plan.pinned and (fewest := _fewest(plan, name, n, group)) > k:
        return f"{given}: {fewest} or more are allowed (pinned filters: {len(plan.pinned[name])})"
    if k % plan.round_to:
        return f"{given}: this plan allows multiples of {plan.round_to}"
    return None


def _fewest(plan: Rules, name: str, n: int | None, group: ChannelGroup | None) -> int:
    """Return the fewest clusters that leave every pinned filter alone and every other filter a cluster."""
    pins = plan.pinned[name]
    if group is None or group.blocks == 1 or any(i >= group.size for i in pins):
        return len(pins) + int(n is None or n > len(pins))
    filled = [sum(int(group.block[i]) == b for i in pins) for b in range(group.blocks)]
    each = group.size // group.blocks
    return group.blocks * max(pinned + int(each > pinned) for pinned in filled)


def check_fit(plan: Rules, graph: ChannelGraph) -> None:
    """Raise with everything in which a plan does not fit a network.

    Parameters
    ----------
    plan : Plan
        The plan.
    graph : ChannelGraph
        The trace of the network.

    Raises
    ------
    PDCError
        See `Plan.check`.
    """
    if plan.residual != graph.residual:
        raise PDCError(
            f"This plan treats residual sums as {plan.residual!r}, but the network was traced as "
            f"{graph.residual!r}; trace it with residual={plan.residual!r}."
        )
    if plan.inside != graph.inside:
        of, traced = (f"the part {part!r}" if part else "the whole network" for part in (plan.inside, graph.inside))
        raise PDCError(f"This plan is for {of}, but {traced} was traced; trace it with inside={plan.inside!r}.")
    groups = {g.name: g for g in graph.groups}
    named = {
        **plan.sizes, **plan.counts, **plan.bounds, **dict.fromkeys(plan.frozen), **plan.hand, **plan.pinned
    }  # fmt: skip
    wrong = [line for name in named if (line := _misfit(plan, name, groups.get(name)))]
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        known = ", ".join(g.name for g in graph.clusterable[:4])
        made_for = f" (it was made for {plan.model})" if plan.model else ""
        raise PDCError(
            f"This plan does not fit the network{made_for}: {'; '.join(wrong[:5])}{more}. "
            f"The network's groups are {known}, ...; make a plan from this network, for example with Plan.uniform."
        )


def check_mergeable(plan: Rules, graph: ChannelGraph) -> None:
    """Raise if no plan with this one's constraints can merge a filter of a network, so that training is not wasted.

    A plan that could merge filters and keeps them all is a control experiment, and is let through.

    Parameters
    ----------
    plan : Plan
        The plan.
    graph : ChannelGraph
        The trace of the network, with the plan's treatment of residual sums.

    Raises
    ------
    PDCError
        Every group is frozen in the network, or the plan's constraints leave every group whole.
    """
    if not graph.clusterable:
        other = (
            "Try residual='shared', use another network"
            if graph.residual == "internal" and any("residual sum" in b.reason for b in graph.reach().blocked)
            else "Use another network"
        )
        raise PDCError(
            f"Nothing can be merged in this network, so it is not trained. {graph.reach()} {other}, or replace the "
            "layers that block its filters; `pdc layers NETWORK` lists every group."
        )
    if all(_whole(plan, group) for group in graph.clusterable):
        limits = {n: getattr(plan, n) for n in ("round_to", "min", "frozen", "bounds", "pinned")}
        given = ", ".join(f"{name}={value}" for name, value in limits.items() if value not in (1, (), {}))
        largest = max(group.size for group in graph.clusterable)
        raise PDCError(
            f"This plan's constraints leave every group whole ({given}), so the network is not trained: its largest "
            f"group has {largest} filters, and at least one group has to be allowed fewer clusters than filters. Relax "
            "the constraints, for example with Plan.uniform(graph, 0.5)."
        )


def _whole(plan: Rules, group: ChannelGroup) -> bool:
    return all(refuse_count(plan, group.name, k, group.size, group) for k in range(1, group.size))


def _misfit(plan: Rules, name: str, group: ChannelGroup | None) -> str | None:
    """Return in words why a plan does not fit one group of a network, or None."""
    if group is None:
        return f"there is no group {name!r}"
    if group.frozen is not None:
        return f"group {name!r} is frozen ({group.frozen})"
    n, k = plan.sizes.get(name), plan.counts.get(name, group.size)
    if n is not None and n != group.size:
        return f"group {name!r} has {group.size} filters, but {n} in the plan"
    if (labels := plan.hand.get(name)) is not None and len(labels) != group.size:
        return f"group {name!r} has {group.size} filters, but the clusters by hand have {len(labels)}"
    if any(i >= group.size for i in plan.pinned.get(name, ())):
        return f"group {name!r} has filters 0 to {group.size - 1}, but {max(plan.pinned[name])} is pinned"
    return refuse_count(plan, name, k, group.size, group)
