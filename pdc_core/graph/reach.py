"""How much of a network a plan can reach, as plain data and as text. `ChannelGraph.reach` makes it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Blocked:
    """Filters that cannot be merged, for one reason.

    Attributes
    ----------
    reason : str
        Why, as `ChannelGroup.frozen` has it.
    filters : int
        How many filters.
    groups : tuple of str
        Names of their groups.
    """

    reason: str
    filters: int
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Reach:
    """How much of a network can be compressed at most, and what blocks the rest. As text: one sentence or two.

    Attributes
    ----------
    filters : float
        Share of the hidden filters (all but the network's output) that can be merged, 0 to 1.
    macs : float
        Share of the MACs that a plan can remove, with one filter left per group and block, 0 to 1.
    blocked : tuple of Blocked
        What cannot be merged, most filters first.
    """

    filters: float
    macs: float
    blocked: tuple[Blocked, ...]

    def __str__(self) -> str:
        if self.filters == 0:
            text = "No filters can be merged."
        else:
            text = (
                f"{self.filters:.0%} of the hidden filters can be merged, and at most {self.macs:.0%} of the MACs cut."
            )
        parts = [f"{_filters(b.filters)} whose group {b.reason}" for b in self.blocked[:3]]
        if more := self.blocked[3:]:
            other = "another reason" if len(more) == 1 else f"{len(more)} other reasons"
            parts.append(f"{_filters(sum(b.filters for b in more))} for {other}")
        return f"{text} Blocked: {'; '.join(parts)}." if parts else text


def _filters(n: int) -> str:
    return "1 filter" if n == 1 else f"{n:,} filters"
