"""Compare: what did it cost, and how do I take it away? All finished runs, one in detail, and its files."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from pdc_core import charts
from pdc_core.errors import PDCError
from pdc_core.runs import list_runs
from ui.choice import lecture
from ui.drawing import cut, figure, percent, short
from ui.page import begin, set_plan
from ui.runs.compare import BEFORE, COSTS, all_runs, count_test_images, stages
from ui.runs.downloads import takeaway
from ui.runs.progress import choose_run
from ui.runs.sections import SECTIONS

network = begin(
    "Compare",
    "What did it cost? Accuracy against MACs, before and after folding, and the network to take away.",
)
runs = {run.id: run for run in list_runs() if run.report and "folded" in run.report}
if not runs:
    st.info("No finished run yet. Start one on the page Distil: eight epochs on the digits take under a minute.")
    st.page_link("pages/distil.py", label="Start a run")
    st.stop()

choice, pin, axis = st.columns([4, 4, 3], gap="medium")
chosen = choose_run(list(runs), next(iter(runs)), choice)
run, report = runs[chosen], runs[chosen].report or {}
alike = {name: each for name, each in runs.items() if each.spec.data == run.spec.data}
pinned = pin.selectbox(
    "Pinned baseline", [BEFORE, *(name for name in alike if name != chosen)], key="pinned", bind="query-params",
    help="What the differences below are measured against.",
)  # fmt: skip
cost = axis.selectbox("Cost", list(COSTS), key="cost_axis", bind="query-params")
base = report["before"] if pinned == BEFORE else (runs[pinned].report or {})["folded"]
folded = report["folded"]

facts = st.columns(4)
points = 100 * (folded["test_accuracy"] - base["test_accuracy"])
facts[0].metric(
    "Test accuracy, folded",
    percent(folded["test_accuracy"]),
    f"{points:+.1f} points",
    delta_color="normal" if round(points, 1) else "off",
    border=True,
    help=f"{pinned}: {percent(base['test_accuracy'])}.",
)
facts[1].metric(
    "MACs, folded",
    short(folded["macs"]),
    cut(base["macs"], folded["macs"]),
    delta_color="inverse",
    border=True,
    help=f"{folded['macs']:,}; {pinned}: {base['macs']:,}.",
)
facts[2].metric(
    "Parameters, folded",
    short(folded["params"]),
    cut(base["params"], folded["params"]),
    delta_color="inverse",
    border=True,
    help=f"{folded['params']:,}; {pinned}: {base['params']:,}.",
)
facts[3].metric(
    "Largest logit change",
    f"{report['max_abs_diff']:.1e}" if run.spec.method == "pdc" else "–",
    border=True,
    height="stretch",
    help="Between the reconstructed network, whose clusters are tied, and the folded one, over the whole test set.",
)

scatter, widths = st.columns(2, gap="large")
with scatter:
    n_test = count_test_images(run)
    figure(charts.accuracy_against(stages(alike, cost), cost, COSTS[cost][2], chosen, n_test), key="accuracy_against")
    if n_test:
        st.caption(charts.accuracy_caption(n_test))
with widths:
    figure(charts.before_after_bars(pd.DataFrame(report["widths"]), "Filters", ""), key="widths")

section = st.segmented_control(
    "Look closer", list(SECTIONS), default=next(iter(SECTIONS)), required=True, key="section", bind="query-params"
)
SECTIONS[section](run)

if len(alike) > 1:
    with st.expander(f"All {len(alike)} finished runs on {run.spec.data}, against {pinned}"):
        signed = {"format": "%+.2f"}
        st.dataframe(
            all_runs(alike, base),
            hide_index=True,
            column_config={
                "sums": st.column_config.TextColumn("residual sums"),
                "accuracy": st.column_config.NumberColumn("test accuracy", format="%.2f %%"),
                "points": st.column_config.NumberColumn("change [points]", **signed),
                "MACs": st.column_config.NumberColumn(format="localized"),
                "MACs change": st.column_config.NumberColumn("change of MACs [%]", **signed),
                "parameters": st.column_config.NumberColumn(format="localized"),
                "from": st.column_config.TextColumn("trained on"),
            },
        )

st.subheader("Take it away")
takeaway(run)
if not lecture():
    st.segmented_control(
        "Pictures of charts", ["PNG", "SVG"], default="PNG", required=True, key="picture", persist_state="session",
        help="The camera that appears in a chart's corner saves it in this format.",
    )  # fmt: skip
st.markdown("The network's file holds weights and plan, and no code. To use it:")
st.code(f'import pdc_core as pdc\nmodel = pdc.load("{run.id}.safetensors")', language="python")
if run.spec.plan and st.button("Make its plan the current one"):
    try:
        set_plan(run.spec.plan, network, f"the plan of {run.id}")
    except PDCError as error:
        st.error(str(error))
    else:
        st.switch_page("pages/plan.py")
with st.expander("What the points mean"):
    st.markdown(
        "**before** is the trained network, **reconstructed** the same width with the filters of each cluster equal, "
        "**folded** the small network. A run goes down (or up) by what training cost, then left by what folding saved; "
        "the second part is exact. Baselines are small before they train and have two points. A point is on the "
        "**Pareto front** when no other is cheaper and at least as good:"
    )
    st.latex(r"\nexists\, j:\; c_j \le c_i,\; q_j \ge q_i,\; (c_j, q_j) \ne (c_i, q_i)")
