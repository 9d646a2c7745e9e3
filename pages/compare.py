"""Compare: what did it cost? All finished runs, one in detail, and its files."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from pdc_core import charts
from pdc_core.errors import PDCError
from ui.choice import lecture
from ui.drawing import cut, figure, percent, short
from ui.own_networks import register_line
from ui.page import begin, set_plan
from ui.runs.compare import (
    BEFORE,
    COSTS,
    all_runs,
    compared_runs,
    count_test_images,
    results_of,
    stages,
    training_alone,
)
from ui.runs.downloads import draw_downloads
from ui.runs.progress import choose_run
from ui.runs.sections import SECTIONS

network = begin(
    "Compare",
    "What did it cost? Accuracy and MACs before and after folding, and files to export.",
)
runs = compared_runs()
if not runs:
    st.info("No finished run yet. Start one on the page Distil: two epochs are enough to see what it costs.")
    st.page_link("pages/distil.py", label="Start a run")
    st.stop()

choice, pin, axis = st.columns([4, 4, 3], gap="medium")
run = choose_run(runs, network, choice)
report, folded = results_of(run)
alike = {name: each for name, each in runs.items() if each.spec.data == run.spec.data}
pinned = pin.selectbox(
    "Baseline", [BEFORE, *(name for name in alike if name != run.id)], key="pinned", bind="query-params",
    help="The differences below are relative to it.",
)  # fmt: skip
cost = axis.selectbox("Cost", list(COSTS), key="cost_axis", bind="query-params")
base = report.before if pinned == BEFORE else results_of(runs[pinned])[1]

if said := training_alone(run, runs):
    st.caption(said)
facts = st.columns(4)
points = 100 * (folded.test_accuracy - base.test_accuracy)
facts[0].metric(
    "Test accuracy, folded",
    percent(folded.test_accuracy),
    f"{points:+.1f} points",
    delta_color="normal" if round(points, 1) else "off",
    border=True,
    help=f"{pinned}: {percent(base.test_accuracy)}.",
)
facts[1].metric(
    "MACs, folded",
    short(folded.macs),
    cut(base.macs, folded.macs),
    delta_color="inverse",
    border=True,
    help=f"{folded.macs:,}; {pinned}: {base.macs:,}.",
)
facts[2].metric(
    "Parameters, folded",
    short(folded.params),
    cut(base.params, folded.params),
    delta_color="inverse",
    border=True,
    help=f"{folded.params:,}; {pinned}: {base.params:,}.",
)
facts[3].metric(
    "Largest logit change",
    f"{report.max_abs_diff:.1e}" if run.spec.method == "pdc" else "–",
    border=True,
    height="stretch",
    help="Between the reconstructed network (clusters tied) and the folded one, on the whole test set.",
)

scatter, widths = st.columns(2, gap="large")
with scatter:
    n_test = count_test_images(run)
    figure(charts.accuracy_against(stages(alike, cost), cost, COSTS[cost][2], run.id, n_test), key="accuracy_against")
    if n_test:
        st.caption(charts.accuracy_caption(n_test))
    else:
        st.caption(f"No error bars: {run.spec.data} is not on this machine, so its test images cannot be counted.")
with widths:
    figure(
        charts.before_after_bars(pd.DataFrame([width.model_dump() for width in report.widths]), "Filters", ""),
        key="widths",
    )

section = st.segmented_control(
    "Details", list(SECTIONS), default=next(iter(SECTIONS)), required=True, key="section", bind="query-params"
)
SECTIONS[section](run)

if len(alike) > 1:
    with st.expander(f"All {len(alike)} finished runs on {run.spec.data}, compared with: {pinned}"):
        signed = {"format": "%+.2f"}
        st.dataframe(
            all_runs(alike, base),
            hide_index=True,
            column_config={
                "sums": st.column_config.TextColumn("residual treatment"),
                "accuracy": st.column_config.NumberColumn("test accuracy", format="%.2f %%"),
                "points": st.column_config.NumberColumn("Δ accuracy [points]", **signed),
                "MACs": st.column_config.NumberColumn(format="localized"),
                "MACs change": st.column_config.NumberColumn("Δ MACs [%]", **signed),
                "parameters": st.column_config.NumberColumn(format="localized"),
                "from": st.column_config.TextColumn("machine"),
            },
        )

st.subheader("Export")
draw_downloads(run)
if not lecture():
    st.segmented_control(
        "Image format of charts", ["PNG", "SVG"], default="PNG", required=True, key="picture", persist_state="session",
        help="The camera button in the corner of a chart saves it in this format.",
    )  # fmt: skip
st.markdown("The file of the folded network holds weights and the plan, no code. To use it:")
st.code(
    f'import pdc_core as pdc\n{register_line(run.spec.model)}model = pdc.load("{run.id}.safetensors")',
    language="python",
)
if run.spec.plan and st.button("Use this plan"):
    try:
        set_plan(run.spec.plan, network, f"plan of {run.id}")
    except PDCError as error:
        st.error(str(error))
    else:
        st.switch_page("pages/plan.py")
with st.expander("How to read the chart"):
    st.markdown(
        "**before** is the trained network, **reconstructed** has the same width with identical filters in each "
        "cluster, **folded** is the small network. A run moves down (or up) by what training cost, then left by what "
        "folding saved; the second part is exact. Baselines are small before they train and have two points. A point "
        "is on the **Pareto front** if no other point is at least as good in both cost and accuracy:"
    )
    st.latex(r"\nexists\, j:\; c_j \le c_i,\; q_j \ge q_i,\; (c_j, q_j) \ne (c_i, q_i)")
