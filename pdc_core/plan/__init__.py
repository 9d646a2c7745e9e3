"""Plans: how many clusters every channel group keeps, by rule and by hand, as plain data.

`plan` holds the Plan, `rules` what it allows, `text` reads and writes it, `hand` edits single clusters, `history`
undoes and compares.
"""

from pdc_core.plan.hand import merge, move, pin, set_clusters, split, unpin
from pdc_core.plan.history import Change, History, difference
from pdc_core.plan.plan import Plan, parse_plan
from pdc_core.plan.rules import check_mergeable

__all__ = [
    "Change",
    "History",
    "Plan",
    "check_mergeable",
    "difference",
    "merge",
    "move",
    "parse_plan",
    "pin",
    "set_clusters",
    "split",
    "unpin",
]
