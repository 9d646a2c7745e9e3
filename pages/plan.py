"""Plan: what would it save? Clusters kept in each group, the savings and the likely cost, before any training."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from pdc_core import charts
from pdc_core.costs import plan_cost
from ui.choice import lecture
from ui.current_plan import current_plan, draw_undo_buttons
from ui.drawing import cut, figure, flush_to_browser, percent, short
from ui.network import network_cost
from ui.network_picture import draw_network_picture
from ui.page import begin
from ui.plan.budget import draw_budget, draw_start, draw_waiting
from ui.plan.files import draw_named, draw_save
from ui.plan.preview import draw_preview
from ui.plan.sensitivity import draw_sensitivity, measured
from ui.plan.table import draw_table
from ui.plan.tools import SHARE, draw_constraints, set_all

QUANTITIES = {"MACs": "macs", "Parameters": "params", "Sensitivity": "sensitivity"}

network = begin("Plan", "What would it save? Choose how many clusters each layer keeps. Nothing is trained yet.")
plan, graph = current_plan(), network.graph
before, after = network_cost(network), plan_cost(graph, plan)
kept, total = sum(plan.counts.values()), sum(group.size for group in graph.clusterable)

facts = st.columns(4)
for column, label, old, new in (
    (facts[0], "MACs", before.macs, after.macs),
    (facts[1], "Parameters", before.params, after.params),
):
    column.metric(
        label,
        short(new),
        cut(old, new),
        delta_color="inverse",
        border=True,
        help=f"{new:,} after folding, {old:,} before.",
    )
facts[2].metric(
    "Filters kept", f"{kept:,}", cut(total, kept), delta_color="inverse", border=True,
    help=f"Of {total:,} in the layers of the table.",
)  # fmt: skip
with facts[3]:
    draw_preview(network, plan)

flush_to_browser(0.03)
found = measured(network)
shown = st.segmented_control(
    "Colour and chart", list(QUANTITIES), default="MACs", required=True, key="plan_chart", persist_state="session",
    label_visibility="collapsed",
)  # fmt: skip
draw_network_picture(network, plan, "plan_picture", QUANTITIES[shown], found)
if shown == "Sensitivity" and found is None:
    st.caption("Colours show MACs until the sensitivity has been measured.")

tools = st.columns([3.2, 1.7, 1.3, 1.5, 2.3], gap="small", vertical_alignment="bottom")
tools[0].slider(
    "Keep ratio of all layers [%]", 1, 100, 25, key=SHARE, on_change=set_all, args=(network,),
    persist_state="session",
)  # fmt: skip
with tools[1]:
    draw_start(network)
with tools[2].popover("Budget", width="stretch"):
    draw_budget(network)
if not lecture():
    with tools[3].popover("Constraints", width="stretch"):
        draw_constraints(network)
    with tools[4]:
        draw_undo_buttons(network, "plan")
draw_waiting(network)

table, chart = st.columns([3, 2], gap="medium")
with table:
    draw_table(network, plan, found)
    st.caption(
        f"Residual treatment: {graph.residual}. Double-click a cluster count to change it. Savings and accuracy loss "
        "are shown for each layer on its own; combined savings are smaller than their sum."
    )
with chart:
    if shown == "Sensitivity":
        draw_sensitivity(network)
    else:
        field, unit = ("macs", "for one image") if shown == "MACs" else ("params", "of weights and biases")
        bars = pd.DataFrame(
            [
                {"name": a.name, "before": getattr(b, field), "after": getattr(a, field)}
                for b, a in zip(before.layers, after.layers, strict=True)
            ]
        )
        figure(charts.before_after_bars(bars, shown, unit), key="plan_bars")

if not lecture():
    st.subheader("Export")
    draw_save(network, plan)
    with st.expander("Named plans"):
        draw_named(network, plan)
with st.expander("How savings are computed"):
    st.markdown(
        "A layer of $n$ filters that keeps $k$ clusters needs $k/n$ of its MACs, and the layers that read it have "
        "fewer input channels by the same ratio. A layer between two pruned groups therefore shrinks by the product "
        f"of both ratios. This plan keeps {percent(after.macs / before.macs)} of the MACs."
    )
