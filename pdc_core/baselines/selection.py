"""Which filters a deletion keeps: every filter gets a score, the highest stay. One function per method."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from torch import nn

from pdc_core.clustering import FloatArray, IntArray, filter_vectors
from pdc_core.clustering.distances import squared_distances
from pdc_core.errors import PDCError
from pdc_core.graph import ChannelGraph, ChannelGroup
from pdc_core.plan import Plan
from pdc_core.registry import choices

Score = Callable[[FloatArray, np.random.Generator], FloatArray]


def l1(w: FloatArray, random: np.random.Generator) -> FloatArray:
    """|w_i|_1: small filters do little. Source: Li et al., arXiv 1608.08710."""
    return np.abs(w).sum(axis=1)


def fpgm(w: FloatArray, random: np.random.Generator) -> FloatArray:
    """sum_j ||w_i - w_j||: filters near the geometric median can be replaced. Source: He et al., arXiv 1811.00250."""
    return np.sqrt(squared_distances(w)).sum(axis=1)


def at_random(w: FloatArray, random: np.random.Generator) -> FloatArray:
    """A random number: what any choice has to beat. Source: Mittal et al., arXiv 1801.10447."""
    return random.random(len(w))


SCORES: dict[str, Score] = {"l1": l1, "fpgm": fpgm, "random": at_random}


def select_filters(model: nn.Module, graph: ChannelGraph, plan: Plan, score: str, seed: int = 0) -> dict[str, IntArray]:
    """Return the filters with the highest scores, as many of every group as the plan keeps.

    Parameters
    ----------
    model : Module
        The network.
    graph : ChannelGraph
        Its trace.
    plan : Plan
        Filters kept per group.
    score : str
        A name in SCORES.
    seed : int, default 0
        Seed of the random choice, 0 or more.

    Returns
    -------
    dict of str to int array, shape (k,)
        Sorted places of the filters that stay, for every group that can be clustered. If a grouped convolution reads
        or writes a group, every block of it keeps equally many.

    Raises
    ------
    PDCError
        The plan does not fit the graph, a weight is not finite, or the score is unknown.
    """
    if score not in SCORES:
        raise PDCError(f"{score!r} is no score to delete filters by; choose {choices(SCORES)}.")
    plan.check(graph)
    random = np.random.default_rng(seed)
    return {
        group.name: _highest(SCORES[score](filter_vectors(model, group), random), group, _count(plan, group))
        for group in graph.clusterable
    }


def _count(plan: Plan, group: ChannelGroup) -> int:
    return plan.counts.get(group.name, group.size)


def _highest(scores: FloatArray, group: ChannelGroup, k: int) -> IntArray:
    """Return the sorted places of the k highest scores, k / blocks in each block; equal scores keep the lower place."""
    order = np.argsort(-scores, kind="stable")
    blocks = [order[group.block[order] == b] for b in range(group.blocks)]
    return np.sort(np.concatenate([own[: k // len(blocks)] for own in blocks]))


def check_kept(graph: ChannelGraph, kept: Mapping[str, IntArray]) -> None:
    """Raise if filters to keep do not fit the graph: none, one twice, or out of range.

    Parameters
    ----------
    graph : ChannelGraph
        The trace of the network.
    kept : mapping of str to int array, shape (k,)
        The filters that stay, by group.

    Raises
    ------
    PDCError
        With the group and what is allowed.
    """
    for name, own in kept.items():
        group = graph.group(name)
        if len(own) == 0 or len(set(own.tolist())) < len(own) or own.min() < 0 or own.max() >= group.size:
            raise PDCError(
                f"Filters to keep of group {name!r} are {own.tolist()}; give at least one, each once, 0 to "
                f"{group.size - 1}."
            )
        if group.blocks > 1 and len(set(np.bincount(group.block[own], minlength=group.blocks))) > 1:
            raise PDCError(
                f"Group {name!r} has {group.blocks} blocks (grouped convolution); keep equally many filters in each."
            )
