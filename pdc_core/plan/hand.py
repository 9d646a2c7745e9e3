"""Clusters by hand: move, merge, split and pin filters. A plan and the labels on screen in, a new plan out.

A plan stores the result, a label for every filter of the group, so that it is the same on another machine, without a
seed or an algorithm. Clusters are named by the labels given, as `assign` returned them for this plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pdc_core.errors import PDCError
from pdc_core.plan.plan import Plan, parse_plan


def set_clusters(plan: Plan, name: str, labels: Sequence[int]) -> Plan:
    """Return a plan in which the clusters of one group are exactly these; its count follows.

    Parameters
    ----------
    plan : Plan
        The plan to change; it stays as it is.
    name : str
        The group.
    labels : sequence of int
        n labels; filters with equal ones share a cluster. They are renumbered by first member.

    Returns
    -------
    Plan
        The new plan.

    Raises
    ------
    PDCError
        If there are too many or too few labels, a pinned filter is not alone, or a constraint forbids the count.

    Examples
    --------
    >>> plan = set_clusters(Plan(counts={"conv1": 2}, sizes={"conv1": 4}), "conv1", [5, 5, 1, 7])
    >>> plan.counts, plan.hand
    ({'conv1': 3}, {'conv1': (0, 0, 1, 2)})
    """
    numbers: dict[int, int] = {}
    own = tuple(numbers.setdefault(int(label), len(numbers)) for label in labels)
    changed = {"counts": {**plan.counts, name: len(numbers)}, "hand": {**plan.hand, name: own}}
    return parse_plan({**plan.model_dump(), **changed}, "the changed plan")


def move(plan: Plan, name: str, labels: Sequence[int], filters: Iterable[int], to: int) -> Plan:
    """Return a plan in which some filters belong to cluster `to`; a cluster that loses its last filter disappears.

    Parameters
    ----------
    plan : Plan
        The plan to change; it stays as it is.
    name : str
        The group.
    labels : sequence of int
        The n labels that the plan gives the group now.
    filters : iterable of int
        Filters to move, 0 to n - 1, at least one.
    to : int
        A cluster of `labels`.

    Returns
    -------
    Plan
        The new plan.

    Raises
    ------
    PDCError
        If there is no such filter or cluster; see also `set_clusters`.

    Examples
    --------
    >>> move(Plan(counts={"conv1": 2}), "conv1", [0, 0, 1, 1], [1], to=1).hand
    {'conv1': (0, 1, 1, 1)}
    """
    moved = _chosen(name, labels, filters)
    if to not in labels:
        raise PDCError(f"Group {name!r} has no cluster {to}; its clusters are {_list(sorted(set(labels)))}.")
    return set_clusters(plan, name, [to if i in moved else label for i, label in enumerate(labels)])


def merge(plan: Plan, name: str, labels: Sequence[int], clusters: Iterable[int]) -> Plan:
    """Return a plan in which some clusters, two or more, are one.

    Parameters
    ----------
    plan : Plan
        The plan to change; it stays as it is.
    name : str
        The group.
    labels : sequence of int
        The n labels that the plan gives the group now.
    clusters : iterable of int
        Clusters of `labels` to merge, two or more.

    Returns
    -------
    Plan
        The new plan.

    Raises
    ------
    PDCError
        If there is no such cluster or fewer than two are given; see also `set_clusters`.

    Examples
    --------
    >>> merge(Plan(counts={"conv1": 3}), "conv1", [0, 1, 2, 1], [0, 2]).hand
    {'conv1': (0, 1, 0, 1)}
    """
    joined = {int(c) for c in clusters}
    if unknown := joined - {int(label) for label in labels}:
        raise PDCError(f"Group {name!r} has no cluster {min(unknown)}; its clusters are {_list(sorted(set(labels)))}.")
    if len(joined) < 2:
        raise PDCError(f"Merging clusters of group {name!r} takes two or more of them; given were {_list(joined)}.")
    return set_clusters(plan, name, [min(joined) if label in joined else int(label) for label in labels])


def split(plan: Plan, name: str, labels: Sequence[int], filters: Iterable[int]) -> Plan:
    """Return a plan in which some filters leave their clusters and form one of their own.

    Parameters
    ----------
    plan : Plan
        The plan to change; it stays as it is.
    name : str
        The group.
    labels : sequence of int
        The n labels that the plan gives the group now.
    filters : iterable of int
        Filters of the new cluster, 0 to n - 1, at least one.

    Returns
    -------
    Plan
        The new plan.

    Raises
    ------
    PDCError
        If there is no such filter, or they are a cluster already; see also `set_clusters`.

    Examples
    --------
    >>> split(Plan(counts={"conv1": 1}), "conv1", [0, 0, 0], [1, 2]).hand
    {'conv1': (0, 1, 1)}
    """
    leaving = _chosen(name, labels, filters)
    if leaving in ({i for i, label in enumerate(labels) if label == c} for c in set(labels)):
        raise PDCError(f"Filters {_list(sorted(leaving))} of group {name!r} are a cluster of their own already.")
    new = max(int(label) for label in labels) + 1
    return set_clusters(plan, name, [new if i in leaving else int(label) for i, label in enumerate(labels)])


def pin(plan: Plan, name: str, filters: Iterable[int]) -> Plan:
    """Return a plan in which each of these filters is a cluster by itself, and stays one when the count changes.

    Clusters formed by hand keep their other filters, and the new ones are added to the count. Otherwise the count
    stays, and the filters that are not pinned share the rest of it.

    Parameters
    ----------
    plan : Plan
        The plan to change; it stays as it is.
    name : str
        The group.
    filters : iterable of int
        Filters to pin, 0 to n - 1.

    Returns
    -------
    Plan
        The new plan.

    Raises
    ------
    PDCError
        If there is no such filter, or the count leaves no cluster for the others.

    Examples
    --------
    >>> pin(Plan(counts={"conv1": 2}, sizes={"conv1": 4}), "conv1", [3]).pinned
    {'conv1': (3,)}
    """
    alone = {int(i) for i in filters}
    pinned = {**plan.pinned, name: tuple(sorted({*plan.pinned.get(name, ()), *alone}))}
    changed = {**plan.model_dump(), "pinned": pinned}
    if (labels := plan.hand.get(name)) is not None:
        own = [len(labels) + i if i in alone else label for i, label in enumerate(labels)]
        changed["hand"] = {group: other for group, other in plan.hand.items() if group != name}
        changed["counts"] = {**plan.counts, name: len(set(own))}
        return set_clusters(parse_plan(changed, "the changed plan"), name, own)
    return parse_plan(changed, "the changed plan")


def unpin(plan: Plan, name: str, filters: Iterable[int] | None = None) -> Plan:
    """Return a plan in which these filters may share a cluster again.

    Parameters
    ----------
    plan : Plan
        The plan to change; it stays as it is.
    name : str
        The group.
    filters : iterable of int, optional
        Filters to free; by default all of the group.

    Returns
    -------
    Plan
        The new plan.

    Examples
    --------
    >>> unpin(Plan(counts={"conv1": 4}, pinned={"conv1": (0, 3)}), "conv1", [3]).pinned
    {'conv1': (0,)}
    """
    freed = set(plan.pinned.get(name, ())) if filters is None else {int(i) for i in filters}
    left = tuple(i for i in plan.pinned.get(name, ()) if i not in freed)
    others = {group: pins for group, pins in plan.pinned.items() if group != name}
    return plan.model_copy(update={"pinned": {**others, name: left} if left else others})


def _chosen(name: str, labels: Sequence[int], filters: Iterable[int]) -> set[int]:
    chosen = {int(i) for i in filters}
    if not chosen:
        raise PDCError(f"No filter of group {name!r} is selected: select one or more, 0 to {len(labels) - 1}.")
    if min(chosen) < 0 or max(chosen) >= len(labels):
        raise PDCError(f"Filters {_list(sorted(chosen))}: group {name!r} has filters 0 to {len(labels) - 1}.")
    return chosen


def _list(values: Iterable[int]) -> str:
    shown = [str(int(value)) for value in values]
    return ", ".join(shown[:8]) + (", ..." if len(shown) > 8 else "") or "none"
