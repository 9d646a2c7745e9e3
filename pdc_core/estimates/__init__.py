"""What clusters cost before anything is trained: one group at a time, a whole plan, and a budget turned into a plan.

`sensitivities` merges each group alone, with `tail` running only what is behind the group; `untrained` merges a whole
plan; `budget` and `rules` choose the counts that meet a target.
"""

from pdc_core.estimates.budget import (
    inertia_damage,
    measured_damage,
    mixed_damage,
    plan_for_budget,
    plan_latency,
    uniform_damage,
)
from pdc_core.estimates.rules import (
    DEFAULT_RULE,
    JOINT,
    MEASURED,
    QUANTITIES,
    RULES,
    RulePlan,
    compare_rules,
    plan_from_rule,
)
from pdc_core.estimates.sensitivities import Point, Sensitivity, sensitivity, sensitivity_key
from pdc_core.estimates.untrained import Preview, WholeMerges, preview

__all__ = [
    "DEFAULT_RULE",
    "JOINT",
    "MEASURED",
    "QUANTITIES",
    "RULES",
    "Point",
    "Preview",
    "RulePlan",
    "Sensitivity",
    "WholeMerges",
    "compare_rules",
    "inertia_damage",
    "measured_damage",
    "mixed_damage",
    "plan_for_budget",
    "plan_from_rule",
    "plan_latency",
    "preview",
    "sensitivity",
    "sensitivity_key",
    "uniform_damage",
]
