"""Compare: what did it cost, and how do I take it away? All finished runs, one in detail, and its files."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from pdc_core import charts
from pdc_core.runs import list_runs
from ui.drawing import cut, figure, percent, short
from ui.session import begin, set_plan

network = begin(
    "Compare",
    "What did it cost? Accuracy against MACs, before and after folding, and the network to take away.",
)
runs = {run.id: run for run in list_runs() if run.report and run.spec.kind == "distil"}
if not runs:
    st.info("No finished run yet. Start one on the page Distil: eight epochs on the digits take under a minute.")
    st.page_link("pages/distil.py", label="Start a run")
    st.stop()


def reports() -> dict[str, dict[str, Any]]:
    """Return the reports of the runs, newest first."""
    return {name: run.report for name, run in runs.items() if run.report}


chosen = st.selectbox("Run", list(runs), key="run", bind="query-params", width=420)
run, report = runs[chosen], reports()[chosen]
base, folded = report["before"], report["folded"]

facts = st.columns(4)
points = 100 * (folded["test_accuracy"] - base["test_accuracy"])
facts[0].metric(
    "Test accuracy, folded",
    percent(folded["test_accuracy"]),
    f"{points:+.1f} points",
    border=True,
    help=f"Before: {percent(base['test_accuracy'])}.",
)
facts[1].metric(
    "MACs, folded",
    short(folded["macs"]),
    cut(base["macs"], folded["macs"]),
    delta_color="inverse",
    border=True,
    help=f"{folded['macs']:,}; before: {base['macs']:,}.",
)
facts[2].metric(
    "Parameters, folded",
    short(folded["params"]),
    cut(base["params"], folded["params"]),
    delta_color="inverse",
    border=True,
    help=f"{folded['params']:,}; before: {base['params']:,}.",
)
facts[3].metric(
    "Largest logit change",
    f"{report['max_abs_diff']:.1e}",
    border=True,
    height="stretch",
    help="Between the reconstructed network, whose clusters are tied, and the folded one.",
)

frame = pd.DataFrame(
    [
        {"run": name, "stage": stage, "macs": each[stage]["macs"], "accuracy": each[stage]["test_accuracy"]}
        for name, each in reports().items()
        for stage in ("before", "folded")
    ]
)
scatter, widths = st.columns(2, gap="large")
with scatter:
    figure(charts.trade_off(frame), key="trade_off")
with widths:
    figure(charts.before_after_bars(pd.DataFrame(report["widths"]), "Filters", ""), key="widths")

st.subheader("Is it still the same function?")
verdict = "every test image gets the same class" if report["same_predictions"] else "but some predictions differ"
st.markdown(
    f"Folding removed the duplicates and changed no logit by more than **{report['max_abs_diff']:.1e}**: "
    f"{verdict}. Any difference in accuracy comes from training, none from folding."
)
stages = [
    ("before", "trained network"),
    ("reconstructed", "reconstructed: clusters tied"),
    ("folded", "folded: duplicates removed"),
]
st.dataframe(
    pd.DataFrame(
        [
            {
                "network": label,
                "test": 100 * report[stage]["test_accuracy"],
                "validation": 100 * report[stage]["val_accuracy"],
                "macs": report[stage]["macs"],
                "params": report[stage]["params"],
                **{f"ms{b}": 1000 * s for b, s in report[stage].get("latency", {}).items()},
            }
            for stage, label in stages
        ]
    ),
    hide_index=True,
    column_config={
        "test": st.column_config.NumberColumn("test accuracy", format="%.2f %%"),
        "validation": st.column_config.NumberColumn("validation accuracy", format="%.2f %%"),
        "macs": st.column_config.NumberColumn("MACs of one image", format="localized"),
        "params": st.column_config.NumberColumn("parameters", format="localized"),
        "ms1": st.column_config.NumberColumn("1 image [ms]", format="%.2f"),
        "ms64": st.column_config.NumberColumn("64 images [ms]", format="%.2f"),
    },
)
st.caption(
    "Times are medians on the machine that trained. They fall less than the MACs: small layers are bound by overheads."
)

st.subheader("Take it away")
take = st.columns(3, gap="medium")
weights = run.folder / "folded.safetensors"
if weights.is_file():
    take[0].download_button(
        "Folded network (safetensors)",
        weights.read_bytes(),
        file_name=f"{run.id}.safetensors",
        mime="application/octet-stream",
        on_click="ignore",
        type="primary",
        width="stretch",
    )
if run.spec.plan:
    take[1].download_button(
        "Its plan (JSON)",
        run.spec.plan.to_json(),
        file_name=f"{run.id}-plan.json",
        mime="application/json",
        on_click="ignore",
        width="stretch",
    )
    if take[2].button("Make its plan the current one", width="stretch"):
        set_plan(run.spec.plan, network)
        st.switch_page("pages/plan.py")
st.markdown("The file holds weights and plan, and no code. To use it:")
st.code(f'import pdc_core as pdc\nmodel = pdc.load("{run.id}.safetensors")', language="python")
if len(runs) > 1:
    with st.expander(f"All {len(runs)} finished runs"):
        st.dataframe(
            pd.DataFrame(
                [
                    {
                        "run": name,
                        "epochs": runs[name].spec.training.epochs,
                        "seed": runs[name].spec.seed,
                        "test accuracy": percent(each["folded"]["test_accuracy"], 2),
                        "MACs": short(each["folded"]["macs"]),
                        "MACs cut": cut(each["before"]["macs"], each["folded"]["macs"]),
                    }
                    for name, each in reports().items()
                ]
            ),
            hide_index=True,
        )
