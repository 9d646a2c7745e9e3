"""Compare: what did it cost? All finished runs, one in detail, and its files."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from pdc_core import charts
from pdc_core.errors import PDCError
from pdc_core.runs import run_name
from ui.choice import lecture
from ui.drawing import cut, figure, percent, short
from ui.job_view import in_words
from ui.own_networks import register_line
from ui.page import begin, set_plan
from ui.runs.compare import BEFORE, all_runs, compared_runs, labelled, points_table, results_of, stages
from ui.runs.curves import draw_chart_files, draw_curves, draw_reading
from ui.runs.downloads import draw_downloads, file_stem
from ui.runs.others import draw_sources, measured_name, measured_points
from ui.runs.progress import by_network, choose_baseline, choose_run, linked_run, select_run
from ui.runs.sections import SECTIONS
from ui.runs.view import choose_view

network = begin(
    "Compare",
    "What did it cost? Accuracy against cost of all runs, one run in detail, and files to export.",
)
runs = compared_runs()
if not runs and not lecture():
    st.info(
        "No finished run yet, so this chart shows what comes with PDC. Start your own on the page Distil: two epochs "
        "are enough to see what it costs."
    )
    st.page_link("pages/distil.py", label="Start a run")
measured = labelled(measured_points())
view = choose_view(points_table(runs), measured, network, runs)
alike = {run.id: run for run in runs.values() if run.id in view.runs}
overview = st.container()
chosen = linked_run(runs)
if chosen is not None and chosen.id not in alike and alike:
    select_run(next(iter(by_network(alike, network))))
run = None
if alike:
    st.subheader("One run")
    left, right = st.columns(2, gap="large")
    choice, pin = left.columns([3, 2], gap="small")
    run = choose_run(alike, network, choice)
with overview:
    name, source = run.id if run else "", measured_name(measured)
    draw_curves(view, name, stages(run, view.cost) if run else None, source)
    draw_reading(view, name, source)
    draw_chart_files(view)
    if len(view.published):
        draw_sources(view.published)
if run is None:
    st.stop()

report, folded = results_of(run)
alike = {name: each for name, each in runs.items() if each.spec.data == run.spec.data}
pinned = choose_baseline([BEFORE, *(name for name in alike if name != run.id)], alike, pin)
pinned_name = pinned if pinned == BEFORE else run_name(runs[pinned])
base = report.before if pinned == BEFORE else results_of(runs[pinned])[1]

facts = [place for _ in range(2) for place in left.columns(2)]
points = 100 * (folded.test_accuracy - base.test_accuracy)
facts[0].metric(
    "Test accuracy, folded",
    percent(folded.test_accuracy),
    f"{points:+.1f} points",
    delta_color="normal" if round(points, 1) else "off",
    border=True,
    help=f"{pinned_name}: {percent(base.test_accuracy)}.",
)
facts[1].metric(
    "MACs, folded",
    short(folded.macs),
    cut(base.macs, folded.macs),
    delta_color="inverse",
    border=True,
    help=f"{folded.macs:,}; {pinned_name}: {base.macs:,}.",
)
facts[2].metric(
    "Parameters, folded",
    short(folded.params),
    cut(base.params, folded.params),
    delta_color="inverse",
    border=True,
    help=f"{folded.params:,}; {pinned_name}: {base.params:,}.",
)
facts[3].metric(
    "Largest logit change",
    f"{report.max_abs_diff:.1e}" if run.spec.method == "pdc" else "–",
    border=True,
    height="stretch",
    help=f"Between the reconstructed network (clusters tied) and the folded one, on {report.compared}.",
)
with right:
    figure(
        charts.before_after_bars(pd.DataFrame([width.model_dump() for width in report.widths]), "Filters", ""),
        key="widths",
    )

section = st.segmented_control(
    "Details", list(SECTIONS), default=next(iter(SECTIONS)), required=True, key="section", bind="query-params"
)
SECTIONS[section](run)

if len(alike) > 1:
    with st.expander(f"All {len(alike)} finished runs on {run.spec.data}, compared with: {pinned_name}"):
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
st.markdown("The file of the folded network holds weights and the plan, no code. To use it:")
st.code(
    f'import pdc_core as pdc\n{register_line(run.spec.model)}model = pdc.load("{file_stem(run)}.safetensors")',
    language="python",
)
if run.spec.plan and st.button("Use this plan"):
    try:
        set_plan(run.spec.plan, network, f"plan of {run_name(run)}")
    except PDCError as error:
        st.error(in_words(error))
    else:
        st.switch_page("pages/plan.py")
with st.expander("How to read the chart"):
    st.markdown(
        "A marker is a run. Runs that differ in their seeds alone have a mean, and a method's means are joined; the "
        "band is one standard deviation over seeds, and the dotted level the uncompressed network. **Trained as long, "
        "not pruned** is the fair reference: the same training with nothing merged. The stages of a run are **before** "
        "(the trained network), **reconstructed** (the same width, identical filters in each cluster) and **folded**; "
        "folding is exact. A mean is on the **Pareto front** if no other is at least as good in both cost and accuracy:"
    )
    st.latex(r"\nexists\, j:\; c_j \le c_i,\; q_j \ge q_i,\; (c_j, q_j) \ne (c_i, q_i)")
