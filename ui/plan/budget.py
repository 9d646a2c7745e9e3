"""Budget: how much to save, of what, and how layers share it; measures the sensitivity first if the rule needs it."""

from __future__ import annotations

import streamlit as st

from pdc_core.errors import PDCError
from pdc_core.estimates import DEFAULT_RULE, MEASURED, QUANTITIES, RULES, Sensitivity, inertia_damage, plan_from_rule
from pdc_core.estimates.budget import DamageByCount
from pdc_core.plan import Plan
from ui.current_plan import current_plan, network_key, refuse, set_plan
from ui.job_view import draw_job
from ui.jobs import Job, this_session
from ui.network import Network
from ui.plan.sensitivity import measure, measured, measurement

_WAITING = "budget_waiting"  # the network and the budget that is applied once its sensitivity is there
_START = 0.5  # share of the MACs that the one-click plan saves
_HELP = """
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
        "Measure and apply" if unknown else "Apply budget",
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
    else:
        st.caption("Locked layers do not change.")


def draw_waiting(network: Network) -> None:
    """Apply the budget that waits for the sensitivity of this network, or show how far that is."""
    key, *budget = st.session_state.get(_WAITING, (None,))
    job: Job[Sensitivity] | None = measurement(network)
    if key != network_key(network) or job is None:
        return
    if job.cancelled or job.left_by(this_session()):
        del st.session_state[_WAITING]
    elif job.known is not None:
        del st.session_state[_WAITING]
        _apply(network, *budget)
        st.rerun()
    else:
        draw_job(job, "Measuring one layer at a time, then the budget is applied", lambda _: None, "budget")


def _measurable(network: Network) -> bool:
    return len(network.data.val) > 0


def _spend(network: Network) -> None:
    cut, of, by = (st.session_state[f"budget_{name}"] for name in ("cut", "of", "by"))
    _ask(network, cut / 100, of, by)


def _ask(network: Network, cut: float, of: str, by: str) -> None:
    """Apply a budget, or measure first and apply it then."""
    if by in MEASURED and measured(network) is None:
        st.session_state[_WAITING] = (network_key(network), cut, of, by)
        measure(network)
    else:
        _apply(network, cut, of, by)


def _apply(network: Network, cut: float, of: str, by: str) -> None:
    try:
        plan = budget_plan(network, current_plan(), cut, of, by)
    except PDCError as error:
        refuse(f"The plan was not changed. {error}")
        return
    set_plan(plan, network, f"{cut:.0%} of {QUANTITIES[of]} saved, by {RULES[by]}")


def budget_plan(network: Network, start: Plan, cut: float, of: str, by: str) -> Plan:
    """Return the plan that meets a budget.

    Raises
    ------
    PDCError
        It cannot be met, or the sensitivity was not measured.
    """
    found = measured(network)
    if by in MEASURED and found is None:
        raise PDCError("The sensitivity of this network has not been measured yet; measure it on the page Plan first.")
    damage = _inertia(network, network_key(network)) if by == "inertia" else None
    return plan_from_rule(network.module, network.graph, start, cut, of, by, sensitivity=found, damage=damage)


@st.cache_data(show_spinner="Rating every cluster count of every layer", max_entries=8)
def _inertia(_network: Network, key: str) -> DamageByCount:
    return inertia_damage(_network.module, _network.graph)
