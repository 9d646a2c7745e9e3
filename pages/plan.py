"""Plan: what would it save? Clusters kept of every group, MACs and parameters live, the plan to take away."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from pdc_core import charts
from pdc_core.cost import plan_cost
from pdc_core.errors import PDCError
from pdc_core.plan import Plan
from ui.drawing import cut, figure, percent, short
from ui.network import network_cost
from ui.session import begin, current_plan, refuse, set_plan

network = begin("Plan", "What would it save? Choose how many clusters every layer keeps; nothing is trained yet.")
graph = network.graph
EDITOR, SHARE = "plan_editor", "plan_share"
version = st.session_state.setdefault("plan_version", 0)
editor_key = f"{EDITOR}_{version}"
file_key = f"plan_file_{st.session_state.setdefault('plan_files', 0)}"


def adopt(plan: Plan) -> None:
    """Take a whole new plan; the table forgets its edits."""
    set_plan(plan, network)
    st.session_state["plan_version"] += 1


def set_all() -> None:
    """Give every group the share of the slider."""
    adopt(Plan.uniform(graph, keep=st.session_state[SHARE] / 100))


def take_edits() -> None:
    """Take the counts typed into the table, all of them or none."""
    names = list(current_plan().counts)
    rows = st.session_state[editor_key]["edited_rows"]
    try:
        plan = current_plan().replace({names[i]: edit["clusters"] for i, edit in rows.items() if "clusters" in edit})
        set_plan(plan, network)
    except PDCError as error:
        refuse(f"The table was not changed. {error}")
        st.session_state["plan_version"] += 1


def take_file() -> None:
    """Take a plan file, if it is a plan of this network."""
    file = st.session_state[file_key]
    st.session_state["plan_files"] += 1  # the next file meets a fresh uploader
    if file is None:
        return
    try:
        plan = Plan.from_json(file.getvalue().decode("utf-8"))
        adopt(plan)
    except (PDCError, UnicodeDecodeError) as error:
        reason = str(error) if isinstance(error, PDCError) else "It is not a text file."
        refuse(f"{file.name} was not loaded. {reason}")


plan = current_plan()
before, after = network_cost(network, network.digest), plan_cost(graph, plan)
kept, total = sum(plan.counts.values()), sum(group.size for group in graph.clusterable)
facts = st.columns(3)
facts[0].metric(
    "MACs",
    short(after.macs),
    cut(before.macs, after.macs),
    delta_color="inverse",
    border=True,
    help=f"{after.macs:,} after folding, {before.macs:,} before.",
)
facts[1].metric(
    "Parameters",
    short(after.params),
    cut(before.params, after.params),
    delta_color="inverse",
    border=True,
    help=f"{after.params:,} after folding, {before.params:,} before.",
)
facts[2].metric(
    "Filters kept in the plan's layers",
    f"{kept:,} of {total:,}",
    cut(total, kept),
    delta_color="inverse",
    border=True,
)

table, chart = st.columns([1, 1], gap="medium")
with table:
    st.slider(
        "Keep in all layers [% of the filters]",
        1,
        100,
        25,
        key=SHARE,
        on_change=set_all,
        persist_state="session",
    )
    saved = {layer.name: layer for layer in after.layers}
    st.data_editor(
        pd.DataFrame(
            {
                "group": list(plan.counts),
                "filters": [plan.sizes[name] for name in plan.counts],
                "clusters": list(plan.counts.values()),
                "keep": [100 * plan.keep[name] for name in plan.counts],
            }
        ),
        key=editor_key,
        on_change=take_edits,
        hide_index=True,
        height="content",
        disabled=["group", "filters", "keep"],
        column_config={
            "group": st.column_config.TextColumn("layer"),
            "clusters": st.column_config.NumberColumn("clusters kept", step=1, required=True),
            "keep": st.column_config.NumberColumn("keep ratio", format="%.0f %%"),
        },
        alt="Clusters kept of every layer; the column clusters kept can be edited.",
    )
    st.caption(f"Residual treatment: {graph.residual}. Double-click a number of clusters to change it.")
with chart:
    bars = pd.DataFrame(
        [{"name": a.name, "before": b.macs, "after": a.macs} for b, a in zip(before.layers, after.layers, strict=True)]
    )
    figure(charts.before_after_bars(bars, "MACs", "for one image"), key="plan_bars")

st.subheader("Take the plan with you")
take, load = st.columns([5, 4], gap="large", vertical_alignment="top")
with take:
    st.download_button(
        "Save the plan (JSON)",
        plan.to_json(),
        file_name="plan.json",
        mime="application/json",
        on_click="ignore",
    )
    st.markdown("The same run without the app, on any machine:")
    st.code(
        f"python -m pdc_core distil --model {network.model} --data {network.data_name} --plan plan.json",
        language="bash",
        wrap_lines=True,
    )
with load:
    st.file_uploader("Load a plan (JSON or YAML)", type=["json", "yaml", "yml"], key=file_key, on_change=take_file)
with st.expander("What a plan saves"):
    st.markdown(
        "A layer of $n$ filters that keeps $k$ clusters computes $k/n$ of its MACs, and the layers that "
        "read it have "
        "fewer inputs by the same ratio: a layer between two groups falls by the product of both. "
        f"This plan keeps {percent(after.macs / before.macs)} of the MACs."
    )
