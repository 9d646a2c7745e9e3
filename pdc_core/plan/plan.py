"""The plan: how many clusters every channel group keeps. Plain validated data that people write by hand.

Made from a graph, checked against a graph, stored as JSON (YAML is read too). Nothing here touches weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pdc_core.errors import PDCError
from pdc_core.graph import ChannelGraph, ChannelGroup
from pdc_core.plan.text import parse, to_yaml


class Plan(BaseModel):
    """Clusters to keep per channel group.

    Attributes
    ----------
    counts : group name -> clusters kept, 1 to the size of the group. A group that is absent keeps all its filters.
    sizes : group name -> filters before; tells at once when a plan meets another network.
    residual : the treatment of residual sums that the groups were found under.
    model : the network's name, where it is known.
    round_to : clusters kept are multiples of this (4 or 8 for real speed on real hardware), or the whole group.
    min : clusters that every group keeps at least; smaller groups stay whole.
    frozen : groups that keep all their filters.
    bounds : group name -> (fewest, most) clusters, whatever else holds.
    hand : group name -> the cluster of each of its filters, where clusters were formed by hand. `assign` takes them as
        they are. They hold as long as the group's count does.
    pinned : group name -> filters that are a cluster of their own, whatever the count is.
    vectors, algorithm : what is compared and how it is grouped, names in `cluster.VECTORS` and `cluster.ALGORITHMS`.

    Examples
    --------
    >>> plan = Plan(counts={"conv1": 4}, sizes={"conv1": 16})
    >>> plan.keep
    {'conv1': 0.25}
    >>> plan.replace({"conv1": 8}).counts
    {'conv1': 8}
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    counts: dict[str, int] = Field(default_factory=dict)
    sizes: dict[str, int] = Field(default_factory=dict)
    residual: Literal["internal", "shared", "gather"] = "internal"
    model: str | None = None
    round_to: int = Field(1, ge=1)
    min: int = Field(1, ge=1)
    frozen: tuple[str, ...] = ()
    bounds: dict[str, tuple[int, int]] = Field(default_factory=dict)
    hand: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    pinned: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    vectors: str = "raw"
    algorithm: str = "kmeans"

    @model_validator(mode="after")
    def _counts_are_allowed(self) -> Plan:
        for name, (fewest, most) in self.bounds.items():
            if not 1 <= fewest <= most:
                raise ValueError(
                    f"bounds {fewest} to {most} for group {name!r}: give (fewest, most), 1 <= fewest <= most"
                )
        for name in {**self.hand, **self.pinned}:
            if said := self._refuse_hand(name):
                raise ValueError(said)
        for name, k in self.counts.items():
            if said := self._refuse(name, k, self.sizes.get(name)):
                raise ValueError(said)
        return self

    def _refuse_hand(self, name: str) -> str | None:
        """Return in words why the clusters by hand, or the pins, of one group are not valid, or None."""
        n, k, pins = self.sizes.get(name), self.counts.get(name), self.pinned.get(name, ())
        labels = self.hand.get(name)
        n = n if n is not None or labels is None else len(labels)
        if any(i < 0 or (n is not None and i >= n) for i in pins) or len(set(pins)) != len(pins):
            return f"pinned filters {list(pins)} of group {name!r}: give each once, 0 to {(n or 1) - 1}"
        if labels is None:
            return None
        if len(labels) != n or min(labels, default=-1) < 0:
            return f"clusters by hand of group {name!r}: give {n} labels of 0 or more, one a filter, not {len(labels)}"
        if len(set(labels)) != k:
            return f"clusters by hand of group {name!r} are {len(set(labels))}, but its count is {k}: make them equal"
        shared = [i for i in pins if labels.count(labels[i]) > 1]
        return f"filter {shared[0]} of group {name!r} is pinned and stays alone: unpin it first" if shared else None

    def _refuse(self, name: str, k: int, n: int | None, group: ChannelGroup | None = None) -> str | None:
        """Return in words why a group of n filters may not keep k clusters, or None."""
        blocks = group.blocks if group is not None else 1
        given = f"{k} clusters for group {name!r}"
        if k < 1 or (n is not None and k > n):
            return f"{given}: allowed are {f'1 to {n}' if n is not None else '1 or more'}"
        if name in self.bounds and not self.bounds[name][0] <= k <= self.bounds[name][1]:
            return f"{given}: this plan allows {self.bounds[name][0]} to {self.bounds[name][1]}"
        if k == n:
            return None
        if name in self.frozen:
            return f"{given}: it is frozen in this plan and keeps all its filters"
        if k < self.min:
            return f"{given}: this plan allows {self.min} or more"
        if k % blocks:
            return f"{given}: allowed are multiples of {blocks}, its convolution groups"
        if name in self.pinned and (fewest := self._fewest(name, n, group)) > k:
            return f"{given}: pinned filters: {len(self.pinned[name])}, so allowed are {fewest} or more"
        if k % self.round_to:
            return f"{given}: this plan allows multiples of {self.round_to}"
        return None

    def _fewest(self, name: str, n: int | None, group: ChannelGroup | None) -> int:
        """Return the fewest clusters that leave every pinned filter alone and every other filter a cluster."""
        pins = self.pinned[name]
        if group is None or group.blocks == 1 or any(i >= group.size for i in pins):
            return len(pins) + int(n is None or n > len(pins))
        filled = [sum(int(group.block[i]) == b for i in pins) for b in range(group.blocks)]
        each = group.size // group.blocks
        return group.blocks * max(pinned + int(each > pinned) for pinned in filled)

    def allowed(self, group: ChannelGroup) -> list[int]:
        """Return every count that this plan and the network allow for a group, ascending.

        Examples
        --------
        >>> Plan(round_to=4).allowed(ChannelGroup("conv1", 10, (), (), ()))
        [4, 8, 10]
        """
        n = group.size
        return [k for k in range(1, n + 1) if self._refuse(group.name, k, n, group) is None]

    @classmethod
    def uniform(cls, graph: ChannelGraph, keep: float = 0.5, model: str | None = None, **constraints: Any) -> Plan:
        """Return the plan that keeps the same ratio of every group that is not frozen: max(1, round(keep n)).

        Parameters
        ----------
        keep : keep ratio k/n, above 0 and at most 1. Where constraints, or the blocks of a grouped convolution, do not
            allow that count, the nearest one that they allow is taken.
        constraints : round_to, min, frozen and bounds, see the attributes.

        Raises
        ------
        PDCError
            `keep` is outside (0, 1], a constraint is not valid or names a group that is not there.
        """
        if not 0 < keep <= 1:
            raise PDCError(f"keep={keep} is not a keep ratio; give a number above 0 and at most 1, for example 0.5.")
        sizes = {g.name: g.size for g in graph.clusterable}
        empty = parse_plan({"sizes": sizes, "residual": graph.residual, "model": model, **constraints}, "this plan")
        counts = {}
        for group in graph.clusterable:
            wanted = group.blocks * max(1, round(keep * group.size / group.blocks))
            counts[group.name] = empty.nearest(group, wanted)
        return empty.model_copy(update={"counts": counts}).check(graph)

    @property
    def keep(self) -> dict[str, float]:
        """Keep ratio k/n per group whose size is known."""
        return {name: k / self.sizes[name] for name, k in self.counts.items() if name in self.sizes}

    def replace(self, counts: Mapping[str, int]) -> Plan:
        """Return a plan with some counts changed; the others stay. A group whose count changes forgets `hand`."""
        hand = {name: labels for name, labels in self.hand.items() if counts.get(name) in (None, self.counts.get(name))}
        changed = {"counts": {**self.counts, **counts}, "hand": hand}
        return parse_plan({**self.model_dump(), **changed}, "the changed plan")

    def constrain(self, graph: ChannelGraph, **constraints: Any) -> Plan:
        """Return a plan under other constraints; counts that these do not allow go to the nearest that they do.

        Parameters
        ----------
        constraints : round_to, min, frozen and bounds, see the attributes; those not given stay as they are.

        Raises
        ------
        PDCError
            A constraint is not valid, or leaves a group no count at all.
        """
        empty = parse_plan({**self.model_dump(), **constraints, "counts": {}, "hand": {}}, "the changed plan")
        wanted = {g.name: self.counts.get(g.name, g.size) for g in graph.clusterable}
        counts = {g.name: empty.nearest(g, wanted[g.name]) for g in graph.clusterable}
        hand = {name: labels for name, labels in self.hand.items() if counts.get(name) == self.counts.get(name)}
        return parse_plan({**empty.model_dump(), "counts": counts, "hand": hand}, "the changed plan").check(graph)

    def nearest(self, group: ChannelGroup, wanted: float) -> int:
        """Return the count nearest to `wanted` that this plan and the network allow; of two, the smaller.

        Raises
        ------
        PDCError
            No count meets all constraints.

        Examples
        --------
        >>> Plan(round_to=4).nearest(ChannelGroup("conv1", 10, (), (), ()), 7)
        8
        """
        allowed = self.allowed(group)
        if not allowed:
            raise PDCError(
                f"No count of clusters meets all constraints for group {group.name!r} of {group.size} filters."
            )
        return min(allowed, key=lambda k: (abs(k - wanted), k))

    def check(self, graph: ChannelGraph) -> Plan:
        """Return the plan if every line of it fits the graph; raise with all that differs otherwise.

        Raises
        ------
        PDCError
            A group does not exist, is frozen or has another size, a count is out of range or does not divide into the
            group's blocks, or the plan was made under another residual treatment.
        """
        if self.residual != graph.residual:
            raise PDCError(
                f"This plan treats residual sums as {self.residual!r}, but the network was traced as "
                f"{graph.residual!r}; trace it with residual={self.residual!r}."
            )
        groups = {g.name: g for g in graph.groups}
        named = {
            **self.sizes, **self.counts, **self.bounds, **dict.fromkeys(self.frozen), **self.hand, **self.pinned
        }  # fmt: skip
        wrong = [line for name in named if (line := _misfit(name, self, groups.get(name)))]
        if wrong:
            more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            known = ", ".join(g.name for g in graph.clusterable[:4])
            made_for = f" (it was made for {self.model})" if self.model else ""
            raise PDCError(
                f"This plan does not fit the network{made_for}: {'; '.join(wrong[:5])}{more}. "
                f"The network's groups are {known}, ...; make a plan from this network, for example with Plan.uniform."
            )
        return self

    def to_json(self) -> str:
        """Return the plan as indented JSON."""
        return self.model_dump_json(indent=2)

    def to_yaml(self) -> str:
        """Return the plan as YAML, without what is left at its default."""
        return to_yaml(self.model_dump(mode="json", exclude_defaults=True))

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """Read a plan from JSON or YAML text.

        Raises
        ------
        PDCError
            The text is neither, or is not a plan.
        """
        return parse_plan(parse(text), "this text")

    def save(self, path: str | Path) -> None:
        """Write the plan, as YAML where the file's name ends in .yaml or .yml, as JSON otherwise."""
        yaml = Path(path).suffix.lower() in (".yaml", ".yml")
        Path(path).write_text(self.to_yaml() if yaml else self.to_json() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read a plan file, JSON or YAML.

        Raises
        ------
        PDCError
            The file cannot be read or is not a plan.
        """
        try:
            text = Path(path).read_bytes()
        except OSError as error:
            raise PDCError(f"The plan file {path} cannot be read: {error.strerror}.") from error
        return parse_plan(parse(text), str(path))


def _misfit(name: str, plan: Plan, group: ChannelGroup | None) -> str | None:
    """Return in words how one line of a plan does not fit, or None."""
    if group is None:
        return f"there is no group {name!r}"
    if group.frozen is not None:
        return f"group {name!r} is frozen ({group.frozen})"
    n, k = plan.sizes.get(name), plan.counts.get(name, group.size)
    if n is not None and n != group.size:
        return f"group {name!r} has {group.size} filters, the plan says {n}"
    if (labels := plan.hand.get(name)) is not None and len(labels) != group.size:
        return f"group {name!r} has {group.size} filters, the clusters by hand name {len(labels)}"
    if any(i >= group.size for i in plan.pinned.get(name, ())):
        return f"group {name!r} has filters 0 to {group.size - 1}, pinned is {max(plan.pinned[name])}"
    return plan._refuse(name, k, group.size, group)


def parse_plan(raw: Any, source: str) -> Plan:
    """Return a validated plan from plain data; `source` names where it came from in the error."""
    if not isinstance(raw, dict):
        raise PDCError(f"{source} is not a plan: expected a mapping with 'counts', got {type(raw).__name__}.")
    try:
        return Plan.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = str(first["msg"]).removeprefix("Value error, ")
        raise PDCError(f"{source} is not a valid plan: {f'{where}: ' if where else ''}{said}.") from error
