"""Budget: how much to save, of what, and how layers share it; what the rule has to measure is measured first."""

from __future__ import annotations

from typing import Any

import streamlit as st

from pdc_core.copies import twin
from pdc_core.errors import PDCError
from pdc_core.estimates import (
    DEFAULT_RULE,
    JOINT,
    MEASURED,
    QUANTITIES,
    RULES,
    RulePlan,
    compare_rules,
    inertia_damage,
    plan_from_rule,
)
from pdc_core.estimates.budget import DamageByCount
from pdc_core.plan import Plan
from ui.current_plan import current_plan, network_key, refuse, set_plan
from ui.job_view import draw_job
from ui.jobs import Job, jobs, request, this_session
from ui.network import Network, images_key
from ui.plan.sensitivity import LANE, measure, measured, measurement

_WAITING = "budget_waiting"  # the network and the budget that is applied once everything is measured
_COMPARED = "budget_compared"  # the network, the last budget for which rules were compared, and how they did
_START = 0.5  # share of the MACs that the one-click plan saves
_HELP = """
- **the least damage of all layers together**: makes the four plans below, merges each as a whole, and takes the one
  that changes the network's answers least. No rule is the best one for every network.
- **sensitivity mixed with equal ratios**: layers whose merge costs more keep more of their filters, but no layer is cut
  far more than the others.
- **sensitivity**: every layer gives up filters until it alone would change the network's answers equally.
- **inertia**: every layer gives up filters until centroids explain equally little of its weights; needs no images.
- **same ratio in all layers**: every layer keeps the same share of its filters.
"""


def draw_start(network: Network) -> None:
    """Draw the button that makes a good first plan in one click."""
    st.button(
        "Halve the MACs",
        on_click=_ask,
        args=(network, _START, "macs", DEFAULT_RULE),
        key="budget_start",
        width="stretch",
        disabled=not _measurable(network),
        help="Measures how much each layer matters, then removes half of the MACs where that costs least. Locked "
        "layers do not change. Other amounts and rules: Budget.",
    )


def draw_budget(network: Network) -> None:
    """Draw the budget: how much to save, of what, and how it is distributed over layers."""
    st.slider("Save at least [%]", 0, 95, 50, key="budget_cut", persist_state="session")
    st.selectbox("of", list(QUANTITIES), format_func=QUANTITIES.__getitem__, key="budget_of", persist_state="session")
    rule = st.radio(
        "Distribute over layers by",
        list(RULES),
        format_func=RULES.__getitem__,
        help=_HELP,
        key="budget_by",
        persist_state="session",
    )
    unknown = rule in MEASURED and measured(network) is None
    st.button(
        "Measure and apply" if unknown or rule == JOINT else "Apply budget",
        type="primary",
        disabled=unknown and not _measurable(network),
        on_click=_spend,
        args=(network,),
        key="budget_apply",
    )
    if unknown and not _measurable(network):
        st.caption("This data has no validation images to measure the sensitivity on; choose another rule.")
    elif unknown:
        st.caption("The sensitivity is measured first, which takes a few seconds for a small network.")
    elif rule == JOINT:
        st.caption("The plans of the four other rules are merged and measured first: seconds for a small network.")
    else:
        st.caption("Locked layers do not change.")
    _draw_compared(network)


def draw_waiting(network: Network) -> None:
    """Apply the budget that waits for what its rule measures, or show how far that is."""
    key, *budget = st.session_state.get(_WAITING, (None,))
    found = measurement(network)
    if key != network_key(network) or found is None:
        return
    cut, of, by = budget
    job: Job[Any] = found
    text = "Measuring one layer at a time, then the budget is applied"
    if found.known is not None and by == JOINT:
        job, text = _comparison(network, current_plan(), cut, of), "Merging the plan of each rule"
    if job.cancelled or job.left_by(this_session()):
        del st.session_state[_WAITING]
    elif job.known is not None or (job is not found and isinstance(job.error, PDCError)):  # the budget cannot be met
        del st.session_state[_WAITING]
        _apply(network, cut, of, by)
        st.rerun()
    else:
        draw_job(job, text, lambda _: None, "budget")


def _measurable(network: Network) -> bool:
    return len(network.data.val) > 0


def _spend(network: Network) -> None:
    cut, of, by = (st.session_state[f"budget_{name}"] for name in ("cut", "of", "by"))
    _ask(network, cut / 100, of, by)


def _ask(network: Network, cut: float, of: str, by: str) -> None:
    """Apply a budget, or measure first and apply it then."""
    if by in MEASURED and measured(network) is None:
        measure(network)
    elif by == JOINT:
        job = _comparison(network, current_plan(), cut, of)
        if job.left_by(this_session()) or job.error is not None:
            jobs().restart(job, this_session())
    else:
        _apply(network, cut, of, by)
        return
    st.session_state[_WAITING] = (network_key(network), cut, of, by)


def _apply(network: Network, cut: float, of: str, by: str) -> None:
    try:
        plan, rule = budget_plan(network, current_plan(), cut, of, by)
    except PDCError as error:
        refuse(f"The plan was not changed. {error}")
        return
    set_plan(plan, network, f"{cut:.0%} of {QUANTITIES[of]} saved, by {RULES[rule]}")


def budget_plan(network: Network, start: Plan, cut: float, of: str, by: str) -> tuple[Plan, str]:
    """Return the plan that meets a budget, and the rule that made it.

    Raises
    ------
    PDCError
        It cannot be met, or the sensitivity was not measured.
    """
    found = measured(network)
    if by in MEASURED and found is None:
        raise PDCError("The sensitivity of this network has not been measured yet; measure it on the page Plan first.")
    if by == JOINT:
        job = _comparison(network, start, cut, of)
        job.wait()
        compared = job.value
        assert compared is not None
        st.session_state[_COMPARED] = (network_key(network), cut, of, compared)
        return compared[0].plan, compared[0].rule
    damage = _inertia(network, network_key(network)) if by == "inertia" else None
    plan = plan_from_rule(network.module, network.graph, start, cut, of, by, sensitivity=found, damage=damage)
    return plan, by


def _comparison(network: Network, start: Plan, cut: float, of: str) -> Job[tuple[RulePlan, ...]]:
    """Return the job that merges the plan of each rule; the sensitivity has been measured."""
    found = measured(network)

    def compare(job: Job[tuple[RulePlan, ...]]) -> tuple[RulePlan, ...]:
        return compare_rules(
            twin(network.module),
            network.graph,
            start,
            cut,
            of,
            data=network.data,
            sensitivity=found,
            progress=job.progress,
        )

    # A budget replaces all counts but these, so that visitors who ask for the same one share the work.
    fixed = {name: start.counts.get(name) for name in sorted({*start.hand, *start.frozen})}
    constraints = start.model_dump_json(exclude={"counts"})
    key = ("rules", network_key(network), *images_key(network), constraints, f"{fixed}", f"{cut}", of)
    return request(key, compare, lane=LANE)


def _draw_compared(network: Network) -> None:
    """Say what the rules did in the budget that was applied last, if they were compared."""
    key, cut, of, compared = st.session_state.get(_COMPARED, (None, 0.0, "", ()))
    if key != network_key(network):
        return
    damages = [f"{each.damage:.2f} nats by {RULES[each.rule]}" for each in compared]
    st.caption(
        f"Merged and not trained, plans that save {cut:.0%} of {QUANTITIES[of]} change the network's answers by "
        f"{damages[0]} (taken), {', '.join(damages[1:])}."
    )


@st.cache_data(show_spinner="Rating every cluster count of every layer", max_entries=8)
def _inertia(_network: Network, key: str) -> DamageByCount:
    return inertia_damage(_network.module, _network.graph)
