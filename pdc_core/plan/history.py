"""Undo and redo of a plan, and how two plans differ. Values, never changed in place."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pdc_core.plan.plan import Plan

_REMEMBERED = 100
_SETTINGS = ("residual", "inside", "round_to", "min", "vectors", "algorithm")


@dataclass(frozen=True)
class History:
    """A plan with the plans before it and those that were undone.

    Attributes
    ----------
    present : Plan
        The plan now.
    past : tuple of (str, Plan)
        What was done, in words, and the plan before it; the oldest first.
    future : tuple of (str, Plan)
        What was undone, and the plan after it; the next to redo first.

    Examples
    --------
    >>> history = History(Plan(counts={"a": 4})).do(Plan(counts={"a": 2}), "a: 2 clusters")
    >>> history.present.counts, history.undo().present.counts, history.undo().redo().present.counts
    ({'a': 2}, {'a': 4}, {'a': 2})
    """

    present: Plan
    past: tuple[tuple[str, Plan], ...] = ()
    future: tuple[tuple[str, Plan], ...] = ()

    def do(self, plan: Plan, what: str) -> History:
        """Return the history in which a plan is present. Undone steps are dropped; the latest 100 steps are kept.

        Parameters
        ----------
        plan : Plan
            The new plan; if it equals the present one, nothing changes.
        what : str
            What was done, in words.

        Returns
        -------
        History
            The new history.
        """
        if plan == self.present:
            return self
        return History(plan, (*self.past, (what, self.present))[-_REMEMBERED:])

    def undo(self) -> History:
        """Return the history one step back; at the beginning, itself."""
        if not self.past:
            return self
        what, plan = self.past[-1]
        return replace(self, present=plan, past=self.past[:-1], future=((what, self.present), *self.future))

    def redo(self) -> History:
        """Return the history one undone step forward; with nothing undone, itself."""
        if not self.future:
            return self
        what, plan = self.future[0]
        return replace(self, present=plan, past=(*self.past, (what, self.present)), future=self.future[1:])


@dataclass(frozen=True)
class Change:
    """One difference between two plans.

    Attributes
    ----------
    what : str
        A group or a constraint.
    before, after : str
        Its two values, in words.
    """

    what: str
    before: str
    after: str


def difference(before: Plan, after: Plan) -> tuple[Change, ...]:
    """Return every difference between two plans, groups first.

    Parameters
    ----------
    before, after : Plan
        The plans.

    Returns
    -------
    tuple of Change
        Empty if the plans are equal.

    Examples
    --------
    >>> difference(Plan(counts={"a": 4, "b": 2}), Plan(counts={"a": 3, "b": 2}, round_to=1))
    (Change(what='a', before='4', after='3'),)
    """
    names = dict.fromkeys((*before.counts, *before.pinned, *before.bounds, *after.counts, *after.pinned, *after.bounds))
    rows = [(name, _line(before, name), _line(after, name)) for name in names]
    rows += [(key, str(getattr(before, key)), str(getattr(after, key))) for key in _SETTINGS]
    rows.append(("model", before.model or "not given", after.model or "not given"))
    changes = [Change(*row) for row in rows if row[1] != row[2]]
    regrouped = [n for n in names if before.hand.get(n) != after.hand.get(n) and _line(before, n) == _line(after, n)]
    return (*changes, *(Change(name, "clusters by hand", "other clusters by hand") for name in regrouped))


def _line(plan: Plan, name: str) -> str:
    """Return in words how a plan treats one group."""
    words = [str(plan.counts[name]) if name in plan.counts else "all"]
    if name in plan.hand:
        words.append("by hand")
    if pins := plan.pinned.get(name):
        words.append("pinned " + " ".join(map(str, pins)))
    if name in plan.frozen:
        words.append("frozen")
    if name in plan.bounds:
        words.append("{} to {}".format(*plan.bounds[name]))
    return ", ".join(words)
