"""The plan: how many clusters every channel group keeps. Plain validated data that people write by hand.

Made from a graph, checked against a graph, stored as JSON (YAML is read too). Nothing here touches weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pdc_core.errors import PDCError
from pdc_core.graph import ChannelGraph, ChannelGroup


class Plan(BaseModel):
    """Clusters to keep per channel group.

    Attributes
    ----------
    counts : group name -> clusters kept, 1 to the size of the group. A group that is absent keeps all its filters.
    sizes : group name -> filters before; tells at once when a plan meets another network.
    residual : the treatment of residual sums that the groups were found under.
    model : the network's name, where it is known.

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

    @model_validator(mode="after")
    def _counts_fit_sizes(self) -> Plan:
        for name, k in self.counts.items():
            n = self.sizes.get(name)
            if k < 1 or (n is not None and k > n):
                allowed = f"1 to {n}" if n is not None else "1 or more"
                raise ValueError(f"{k} clusters for group {name!r}: allowed are {allowed}")
        return self

    @classmethod
    def uniform(cls, graph: ChannelGraph, keep: float = 0.5, model: str | None = None) -> Plan:
        """Return the plan that keeps the same ratio of every group that is not frozen: max(1, round(keep n)).

        Parameters
        ----------
        keep : keep ratio k/n, above 0 and at most 1. Groups with several blocks (grouped convolutions) keep the same
            number in each block.

        Raises
        ------
        PDCError
            `keep` is outside (0, 1].
        """
        if not 0 < keep <= 1:
            raise PDCError(f"keep={keep} is not a keep ratio; give a number above 0 and at most 1, for example 0.5.")
        counts = {g.name: g.blocks * max(1, round(keep * g.size / g.blocks)) for g in graph.clusterable}
        return cls(
            counts=counts, sizes={g.name: g.size for g in graph.clusterable}, residual=graph.residual, model=model
        )

    @property
    def keep(self) -> dict[str, float]:
        """Keep ratio k/n per group whose size is known."""
        return {name: k / self.sizes[name] for name, k in self.counts.items() if name in self.sizes}

    def replace(self, counts: Mapping[str, int]) -> Plan:
        """Return a plan with some counts changed; the others stay."""
        return parse_plan({**self.model_dump(), "counts": {**self.counts, **counts}}, "the changed plan")

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
        wrong = [line for name in {**self.sizes, **self.counts} if (line := _misfit(name, self, groups.get(name)))]
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

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """Read a plan from JSON or YAML text.

        Raises
        ------
        PDCError
            The text is neither, or is not a plan.
        """
        return parse_plan(_parse(text), "this text")

    def save(self, path: str | Path) -> None:
        """Write the plan as JSON."""
        Path(path).write_text(self.to_json() + "\n", encoding="utf-8")

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
        return parse_plan(_parse(text), str(path))


def _misfit(name: str, plan: Plan, group: ChannelGroup | None) -> str | None:
    """Return in words how one line of a plan does not fit, or None."""
    if group is None:
        return f"there is no group {name!r}"
    if group.frozen is not None:
        return f"group {name!r} is frozen ({group.frozen})"
    n, k = plan.sizes.get(name), plan.counts.get(name, group.size)
    if n is not None and n != group.size:
        return f"group {name!r} has {group.size} filters, the plan says {n}"
    if not 1 <= k <= group.size:
        return f"{k} clusters for group {name!r}: allowed are 1 to {group.size}"
    if k % group.blocks:
        return f"{k} clusters for group {name!r}: allowed are multiples of {group.blocks}, its convolution groups"
    return None


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


def _parse(text: str | bytes) -> Any:
    import yaml

    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        if decoded.lstrip().startswith("{"):
            return json.loads(decoded)
        return yaml.safe_load(decoded)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        line = str(error).strip().splitlines()[0]
        raise PDCError(
            f'This text is neither JSON nor YAML ({line}); a plan looks like {{"counts": {{"conv1": 8}}}}.'
        ) from error
