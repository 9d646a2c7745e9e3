"""The plan as a table: counts and locks can be edited, everything else follows."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from pdc_core.costs import plan_cost
from pdc_core.errors import PDCError
from pdc_core.estimates import Sensitivity
from pdc_core.plan import Plan, parse_plan
from ui.choice import lecture
from ui.current_plan import current_plan, forget_typing, refuse, set_plan, version
from ui.network import Network
from ui.savings import saved_alone


def plan_rows(network: Network, plan: Plan, found: Sensitivity | None) -> pd.DataFrame:
    """Return one row per group of the plan.

    Columns: group, filters, clusters, keep [%], macs and params (share of the network saved by this group alone, %),
    drop (change of accuracy by this group alone, points), locked, and edited (what was edited by hand).
    """
    whole = plan_cost(network.graph, {})
    rows = []
    for name, k in plan.counts.items():
        macs, params = saved_alone(network, name, k, whole)
        drop = found.drop(name, k) if found is not None else None
        rows.append(
            {
                "group": name,
                "filters": plan.sizes[name],
                "clusters": k,
                "keep": 100 * plan.keep[name],
                "macs": 100 * macs / whole.macs,
                "params": 100 * params / whole.params,
                "drop": None if drop is None else -100 * drop,
                "locked": is_locked(plan, name),
                "edited": " ".join(
                    word for word, there in (("clusters", name in plan.hand), ("pins", name in plan.pinned)) if there
                ),
            }
        )
    return pd.DataFrame(rows)


def is_locked(plan: Plan, name: str) -> bool:
    """Tell whether sliders and budgets do not change a group."""
    k = plan.counts[name]
    return name in plan.frozen or plan.bounds.get(name) == (k, k)


def draw_table(network: Network, plan: Plan, found: Sensitivity | None) -> None:
    """Draw the table; what is typed goes into the plan at once."""
    key = f"plan_editor_{version()}"
    st.data_editor(
        plan_rows(network, plan, found),
        key=key,
        on_change=lambda: _take(network, key),
        hide_index=True,
        height="content" if len(plan.counts) <= 24 else 900,
        disabled=["group", "filters", "keep", "macs", "params", "drop", "edited"],
        column_order=[
            *("group", "filters", "clusters", "keep", "macs"),
            *([] if lecture() else ["params"]),
            *(["drop"] if found is not None else []),
            *([] if lecture() else ["locked"]),
            *(["edited"] if plan.hand or plan.pinned else []),
        ],
        column_config={
            "group": st.column_config.TextColumn("layer", width=130 if lecture() else 108),
            "filters": st.column_config.NumberColumn("filters", width=48),
            "clusters": st.column_config.NumberColumn(
                "clusters",
                step=1,
                required=True,
                width=104 if lecture() else 78,
                help="Clusters kept. Double-click to change.",
            ),
            "keep": st.column_config.NumberColumn("keep", format="%.0f %%", width=48),
            "macs": st.column_config.NumberColumn(
                "MACs",
                format="-%.1f %%",
                width=58,
                help="Share of the network's MACs saved by this layer alone.",
            ),
            "params": st.column_config.NumberColumn(
                "param.",
                format="-%.1f %%",
                width=60,
                help="Share of the network's parameters saved by it alone.",
            ),
            "drop": st.column_config.NumberColumn(
                "accuracy",
                format="%.1f pt",
                width=68,
                help="Sensitivity: change of accuracy in points if only this layer is clustered, without training.",
            ),
            "locked": st.column_config.CheckboxColumn("locked", width=76, help="Sliders and budgets do not change it."),
            "edited": st.column_config.TextColumn("edits", width=80, help="Edited by hand on the page Filters."),
        },
        alt="Clusters kept in each layer. The columns clusters and locked can be edited.",
    )


def _take(network: Network, key: str) -> None:
    """Apply what was typed into the table: all of it, or nothing."""
    before = current_plan()
    names, rows = list(before.counts), st.session_state[key]["edited_rows"]
    try:
        plan, done = before, []
        for i, edit in rows.items():
            name = names[int(i)]
            if "clusters" in edit and edit["clusters"] != plan.counts[name]:
                plan = typed_count(plan, name, edit["clusters"])
                done.append(f"{name}: {edit['clusters']} clusters")
            if "locked" in edit and edit["locked"] != is_locked(plan, name):
                plan = locked(plan, name, edit["locked"])
                done.append(f"{name} {'locked' if edit['locked'] else 'unlocked'}")
        if done:
            set_plan(plan, network, done[-1], typed=True)
    except PDCError as error:
        refuse(f"The table was not changed. {error}")
        forget_typing()


def typed_count(plan: Plan, name: str, k: int) -> Plan:
    """Return the plan with another count for a group; a locked one stays locked, at the new count."""
    was = is_locked(plan, name)
    changed = (locked(plan, name, False) if was else plan).replace({name: k})
    return locked(changed, name, True) if was else changed


def locked(plan: Plan, name: str, on: bool) -> Plan:
    """Return the plan with a group locked at its count, or free."""
    bounds = {group: pair for group, pair in plan.bounds.items() if group != name}
    if on:
        bounds[name] = (plan.counts[name], plan.counts[name])
    frozen = [group for group in plan.frozen if group != name]
    return parse_plan({**plan.model_dump(), "bounds": bounds, "frozen": frozen}, "the changed plan")
