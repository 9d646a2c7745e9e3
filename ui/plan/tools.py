"""Tools that change a whole plan: one keep ratio for all layers, constraints, the residual treatment."""

from __future__ import annotations

import streamlit as st

from pdc_core.errors import PDCError
from pdc_core.graph import RESIDUALS
from ui.choice import choose, current_choice
from ui.current_plan import current_plan, refuse, set_plan
from ui.network import Network

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
    st.session_state["residual_choice"] = current_choice().residual
    st.selectbox(
        "Residual connections",
        RESIDUALS,
        format_func=TREATMENTS.__getitem__,
        key="residual_choice",
        on_change=lambda: choose(residual=st.session_state["residual_choice"]),
        help="What happens to channels that are summed. All three are exact; each has its own plan.",
    )
    for field, label, tip in (
        ("round_to", "Round counts to multiples of", "8 suits tensor cores, says NVIDIA's guide; 1 allows any count."),
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
