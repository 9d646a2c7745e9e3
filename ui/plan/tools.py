"""Tools that change a whole plan: one keep ratio for all layers, constraints, the residual treatment, a budget."""

from __future__ import annotations

import streamlit as st

from pdc_core.errors import PDCError
from pdc_core.estimates import MEASURED, QUANTITIES, RULES, inertia_damage, plan_from_rule
from pdc_core.estimates.budget import DamageByCount
from pdc_core.graph import RESIDUALS
from pdc_core.plan import Plan
from ui.choice import choose, current_choice
from ui.current_plan import current_plan, network_key, refuse, set_plan
from ui.network import Network
from ui.plan.sensitivity import measured

SHARE = "plan_share"
TREATMENTS = {
    "internal": "internal: leave summed channels whole",
    "shared": "shared: same clusters for all layers of a sum",
    "gather": "gather: expand by index before the sum",
}


def set_all(network: Network) -> None:
    """Give every group the keep ratio of the slider; locked and hand-made groups do not change."""
    share, plan = st.session_state[SHARE] / 100, current_plan()
    counts = {
        g.name: plan.nearest(g, g.blocks * max(1, round(share * g.size / g.blocks)))
        for g in network.graph.clusterable
        if g.name not in plan.hand
    }
    set_plan(plan.replace(counts), network, f"{share:.0%} kept in all layers")


def draw_constraints(network: Network) -> None:
    """Draw the constraints on all counts."""
    plan = current_plan()
    chosen = current_choice().residual
    st.selectbox(
        "Residual connections",
        RESIDUALS,
        index=RESIDUALS.index(chosen),
        format_func=TREATMENTS.__getitem__,
        key="residual_choice",
        on_change=lambda: choose(residual=st.session_state["residual_choice"]),
        help="What happens to channels that are summed. All three are exact; each has its own plan.",
    )
    for field, label, tip in (
        ("round_to", "Round counts to multiples of", "8 suits most hardware; 1 allows any count."),
        ("min", "Minimum clusters per layer", "Smaller layers keep all their filters."),
    ):
        key = f"constraint_{field}"
        st.session_state[key] = getattr(plan, field)
        st.number_input(label, 1, 512, key=key, help=tip, on_change=_constrain, args=(network, field))


def _constrain(network: Network, field: str) -> None:
    value = int(st.session_state[f"constraint_{field}"])
    try:
        plan = current_plan().constrain(network.graph, **{field: value})
        set_plan(plan, network, f"multiples of {value}" if field == "round_to" else f"at least {value} clusters")
    except PDCError as error:
        refuse(f"The plan was not changed. {error}")


def draw_budget(network: Network) -> None:
    """Draw the budget: how much to save, of what, and how it is distributed over layers."""
    st.slider("Save at least [%]", 0, 95, 50, key="budget_cut", persist_state="session")
    st.selectbox("of", list(QUANTITIES), format_func=QUANTITIES.__getitem__, key="budget_of", persist_state="session")
    st.radio(
        "Distribute over layers by",
        list(RULES),
        format_func=RULES.__getitem__,
        key="budget_by",
        persist_state="session",
    )
    unknown = st.session_state["budget_by"] in MEASURED and measured(network) is None
    st.button("Apply budget", type="primary", disabled=unknown, on_click=_spend, args=(network,), key="budget_apply")
    st.caption(
        "Measure the sensitivity first: choose Sensitivity above the chart."
        if unknown
        else "Removes clusters until every layer would do the same damage on its own. Locked layers do not change."
    )


def _spend(network: Network) -> None:
    cut, of, by = (st.session_state[f"budget_{name}"] for name in ("cut", "of", "by"))
    try:
        plan = budget_plan(network, current_plan(), cut / 100, of, by)
    except PDCError as error:
        refuse(f"The plan was not changed. {error}")
        return
    set_plan(plan, network, f"{cut} % of {QUANTITIES[of]} saved, by {RULES[by]}")


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
