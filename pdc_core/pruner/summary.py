"""What a pruner has tied so far: a table to print, and its numbers."""

from __future__ import annotations

from dataclasses import dataclass

from pdc_core.costs import plan_cost
from pdc_core.graph import ChannelGraph
from pdc_core.pruner.folding import TIED
from pdc_core.reconstruct import StepwiseTying, Tying


@dataclass(frozen=True)
class GroupState:
    """One group of filters.

    Attributes
    ----------
    name : str
        The group's.
    size : int
        Its filters, n.
    now : int
        How many of them are different at this step.
    end : int
        Clusters of the plan, k.
    """

    name: str
    size: int
    now: int
    end: int


@dataclass(frozen=True)
class PrunerSummary:
    """Where a pruner stands. Printing it gives a table.

    Attributes
    ----------
    groups : tuple of GroupState
        In the order of the network.
    step : int
        Steps of the optimiser since the pruner was attached.
    progress, strength : float, 0 to 1
        How far the run is, and how strongly clusters are pulled together.
    deviation : float
        How far the filters are from their clusters: 0 tied, 1 where the centroids are all zero.
    tied : bool
        Whether `fold` would accept the network as it is.
    macs_before, macs_now, macs_end : int
        MACs of one example: of the whole network, if it were folded now, and at the end. What the pruning literature
        calls FLOPs.
    notes : tuple of str
        What cannot be tied of the optimisers' memory, and why.
    """

    groups: tuple[GroupState, ...]
    step: int
    progress: float
    strength: float
    deviation: float
    tied: bool
    macs_before: int
    macs_now: int
    macs_end: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        width = max([5, *(len(each.name) for each in self.groups)])
        lines = [f"{'group':<{width}}  filters  different now  at the end"]
        lines += [f"{each.name:<{width}}  {each.size:>7}  {each.now:>13}  {each.end:>10}" for each in self.groups]
        state = "tied: fold() gives the small network" if self.tied else "not tied yet"
        lines += [
            f"step {self.step}, {self.progress:.0%} of the run, strength {self.strength:.2f}, "
            f"deviation {self.deviation:.1e}; {state}",
            f"MACs: {self.macs_before:,} before, {self.macs_now:,} if folded now, {self.macs_end:,} at the end "
            f"({1 - self.macs_end / self.macs_before:.1%} cut)",
            *self.notes,
        ]
        return "\n".join(lines)


def summary_of(
    graph: ChannelGraph,
    tying: Tying,
    settled: bool,
    *,
    step: int,
    progress: float,
    deviation: float,
    notes: tuple[str, ...],
) -> PrunerSummary:
    """Return where a pruner stands.

    Parameters
    ----------
    graph : ChannelGraph
        The trace of the network at full width.
    tying : Tying
        What is tied, and how strongly.
    settled : bool
        Whether all filters share the clusters of the end.
    step, progress, deviation, notes : any
        As in `PrunerSummary`.
    """
    counts = {name: int(a.max()) + 1 for name, a in tying.labels.items()}
    now = {name: int(a.max()) + 1 for name, a in tying.tied.items()}
    if not (settled or isinstance(tying, StepwiseTying)):  # pulled together, but none is tied yet
        now = {name: graph.group(name).size for name in counts}
    rows = tuple(GroupState(name, graph.group(name).size, now.get(name, k), k) for name, k in counts.items())
    before, folded_now, end = (plan_cost(graph, each).macs for each in ({}, {**counts, **now}, counts))
    tied = settled and deviation <= TIED
    return PrunerSummary(rows, step, progress, tying.strength, deviation, tied, before, folded_now, end, notes)
