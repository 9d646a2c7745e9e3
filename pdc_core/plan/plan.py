"""The plan: how many clusters every channel group keeps. Plain validated data that people can write by hand.

Made from a graph, checked against a graph, stored as JSON (YAML is read too). Nothing here touches weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pdc_core.errors import PDCError, first_reason
from pdc_core.files import write_whole
from pdc_core.graph import ChannelGraph, ChannelGroup
from pdc_core.handwritten import no_booleans
from pdc_core.plan.rules import check_fit, refuse_count, refuse_hand
from pdc_core.plan.text import parse, to_yaml


class Plan(BaseModel):
    """Clusters to keep per channel group.

    Attributes
    ----------
    counts : dict of str to int
        Clusters to keep, 1 to the size of the group, by its name. A group that is absent keeps all its filters.
    sizes : dict of str to int
        Filters of each group before pruning; shows at once if a plan is used with another network.
    residual : {"internal", "shared", "gather"}
        The treatment of residual sums with which the groups were found.
    inside : str
        Dotted name of the part of the network whose groups these are, such as "backbone"; "" for the whole network.
    model : str or None
        The network's name, if known.
    round_to : int
        Clusters are multiples of this, 1 or more, or the whole group (4 or 8 for real speed on real hardware).
    min : int
        Clusters that every group keeps at least, 1 or more; smaller groups stay whole.
    frozen : tuple of str
        Groups that keep all their filters.
    bounds : dict of str to (int, int)
        Fewest and most clusters of a group, besides all other constraints.
    hand : dict of str to tuple of int
        The cluster of each filter, for groups with clusters formed by hand. `assign` takes them as they are. They are
        dropped when the group's count changes.
    pinned : dict of str to tuple of int
        Filters that are a cluster by themselves, whatever the count is.
    vectors, algorithm : str
        What is compared and how it is grouped, names in `pdc_core.VECTORS` and `pdc_core.ALGORITHMS`.

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
    inside: str = ""
    model: str | None = None
    round_to: int = Field(1, ge=1)
    min: int = Field(1, ge=1)
    frozen: tuple[str, ...] = ()
    bounds: dict[str, tuple[int, int]] = Field(default_factory=dict)
    hand: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    pinned: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    vectors: str = "raw"
    algorithm: str = "kmeans"

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_numbers(cls, given: Any) -> Any:
        return no_booleans(cls.model_fields, given)

    @model_validator(mode="after")
    def _counts_are_allowed(self) -> Plan:
        for name, (fewest, most) in self.bounds.items():
            if not 1 <= fewest <= most:
                raise ValueError(
                    f"bounds {fewest} to {most} for group {name!r}: give (fewest, most), 1 <= fewest <= most"
                )
        for name in {**self.hand, **self.pinned}:
            if reason := refuse_hand(self, name):
                raise ValueError(reason)
        for name, k in self.counts.items():
            if reason := refuse_count(self, name, k, self.sizes.get(name)):
                raise ValueError(reason)
        return self

    def allowed(self, group: ChannelGroup) -> list[int]:
        """Return every count that this plan and the network allow for a group.

        Parameters
        ----------
        group : ChannelGroup
            The group, of n filters.

        Returns
        -------
        list of int
            Ascending, 1 to n.

        Examples
        --------
        >>> Plan(round_to=4).allowed(ChannelGroup("conv1", 10, (), (), ()))
        [4, 8, 10]
        """
        n = group.size
        return [k for k in range(1, n + 1) if refuse_count(self, group.name, k, n, group) is None]

    @classmethod
    def uniform(cls, graph: ChannelGraph, keep: float = 0.5, model: str | None = None, **constraints: Any) -> Plan:
        """Return the plan that keeps the same ratio of every group that is not frozen: max(1, round(keep n)).

        Parameters
        ----------
        graph : ChannelGraph
            The trace of a network.
        keep : float, default 0.5
            Keep ratio k/n, above 0 and at most 1. If constraints, or the blocks of a grouped convolution, do not allow
            that count, the nearest allowed one is taken.
        model : str, optional
            The network's name, to be stored in the plan.
        **constraints : int, tuple or dict
            round_to, min, frozen and bounds, see the attributes.

        Returns
        -------
        Plan
            With a count for every group that can be clustered.

        Raises
        ------
        PDCError
            If `keep` is outside (0, 1], or a constraint is not valid or names a group that does not exist.
        """
        if isinstance(keep, bool) or not isinstance(keep, float | int) or not 0 < keep <= 1:
            raise PDCError(f"keep={keep} is not a keep ratio; give a number above 0 and at most 1, for example 0.5.")
        sizes = {g.name: g.size for g in graph.clusterable}
        of = {"sizes": sizes, "residual": graph.residual, "inside": graph.inside, "model": model}
        empty = parse_plan({**of, **constraints}, "this plan")
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
        """Return a plan with some counts changed; the others stay. A group whose count changes forgets `hand`.

        Parameters
        ----------
        counts : mapping of str to int
            The new counts, by the name of the group.

        Returns
        -------
        Plan
            The new plan.

        Raises
        ------
        PDCError
            If a count is not allowed.
        """
        hand = {name: labels for name, labels in self.hand.items() if counts.get(name) in (None, self.counts.get(name))}
        changed = {"counts": {**self.counts, **counts}, "hand": hand}
        return parse_plan({**self.model_dump(), **changed}, "the changed plan")

    def whole(self) -> Plan:
        """Return the plan that keeps every filter, without constraints.

        Examples
        --------
        >>> Plan(counts={"conv1": 4}, sizes={"conv1": 16}, min=2).whole().counts
        {'conv1': 16}
        """
        of = {"sizes": self.sizes, "residual": self.residual, "inside": self.inside, "model": self.model}
        return parse_plan({"counts": self.sizes, **of}, "the plan that keeps every filter")

    def constrain(self, graph: ChannelGraph, **constraints: Any) -> Plan:
        """Return a plan under other constraints; counts that these do not allow become the nearest that they do.

        Parameters
        ----------
        graph : ChannelGraph
            The trace of the network.
        **constraints : int, tuple or dict
            round_to, min, frozen and bounds, see the attributes; those not given stay as they are.

        Returns
        -------
        Plan
            The new plan.

        Raises
        ------
        PDCError
            If a constraint is not valid, or leaves a group no count at all.
        """
        empty = parse_plan({**self.model_dump(), **constraints, "counts": {}, "hand": {}}, "the changed plan")
        wanted = {g.name: self.counts.get(g.name, g.size) for g in graph.clusterable}
        counts = {g.name: empty.nearest(g, wanted[g.name]) for g in graph.clusterable}
        hand = {name: labels for name, labels in self.hand.items() if counts.get(name) == self.counts.get(name)}
        return parse_plan({**empty.model_dump(), "counts": counts, "hand": hand}, "the changed plan").check(graph)

    def nearest(self, group: ChannelGroup, wanted: float) -> int:
        """Return the count nearest to a number that this plan and the network allow; of two, the smaller.

        Parameters
        ----------
        group : ChannelGroup
            The group, of n filters.
        wanted : float
            The number.

        Returns
        -------
        int
            1 to n.

        Raises
        ------
        PDCError
            If no count meets all constraints.

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
        """Return the plan if it fits the graph in every point; otherwise raise with all that differs.

        Parameters
        ----------
        graph : ChannelGraph
            The trace of a network.

        Returns
        -------
        Plan
            The same plan.

        Raises
        ------
        PDCError
            If a group does not exist, is frozen or has another size, a count is out of range or no multiple of the
            group's blocks, or the plan was made with another residual treatment.
        """
        check_fit(self, graph)
        return self

    def sized(self, graph: ChannelGraph) -> Plan:
        """Return the same plan with the sizes of all groups, which one that was written by hand need not say.

        Parameters
        ----------
        graph : ChannelGraph
            The trace of the network.

        Returns
        -------
        Plan
            A new plan.

        Raises
        ------
        PDCError
            It does not fit the graph, as for `check`.
        """
        self.check(graph)
        return self.model_copy(update={"sizes": {group.name: group.size for group in graph.clusterable}})

    def to_json(self) -> str:
        """Return the plan as indented JSON."""
        return self.model_dump_json(indent=2)

    def to_yaml(self) -> str:
        """Return the plan as YAML, without the values that have their defaults."""
        return to_yaml(self.model_dump(mode="json", exclude_defaults=True))

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """Read a plan from JSON or YAML text.

        Parameters
        ----------
        text : str or bytes
            The text; bytes are UTF-8.

        Returns
        -------
        Plan
            The plan.

        Raises
        ------
        PDCError
            If the text is neither, or is not a plan.
        """
        return parse_plan(parse(text), "this text")

    def save(self, path: str | Path) -> None:
        """Write the plan, as YAML if the file's name ends in .yaml or .yml, as JSON otherwise.

        Parameters
        ----------
        path : str or Path
            The file; its folder has to exist.

        Raises
        ------
        PDCError
            If the file cannot be written.
        """
        yaml = Path(path).suffix.lower() in (".yaml", ".yml")
        write_whole(path, self.to_yaml() if yaml else self.to_json() + "\n", durable=True)

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read a plan file, JSON or YAML.

        Parameters
        ----------
        path : str or Path
            The file.

        Returns
        -------
        Plan
            The plan.

        Raises
        ------
        PDCError
            If the file cannot be read or is not a plan.
        """
        try:
            text = Path(path).read_bytes()
        except OSError as error:
            raise PDCError(f"The plan file {path} cannot be read: {error.strerror}.") from error
        return parse_plan(parse(text), str(path))


def parse_plan(raw: Any, source: str) -> Plan:
    """Return a validated plan from plain data.

    Parameters
    ----------
    raw : dict
        The attributes of a `Plan`.
    source : str
        Where they came from, for the error.

    Returns
    -------
    Plan
        The plan.

    Raises
    ------
    PDCError
        If the data is not a plan.
    """
    if not isinstance(raw, dict):
        raise PDCError(f"{source} is not a plan: expected a mapping with 'counts', got {type(raw).__name__}.")
    try:
        return Plan.model_validate(raw)
    except ValidationError as error:
        where, message = first_reason(error)
        raise PDCError(f"{source} is not a valid plan: {f'{where}: ' if where else ''}{message}.") from error
