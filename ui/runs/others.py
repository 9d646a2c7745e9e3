"""Results that are not of one's own runs: the sweep that PDC comes with, and published ones."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from pdc_core.analysis.literature import literature_networks, literature_results
from pdc_core.costs import cost
from pdc_core.data import describe_data
from pdc_core.models import load_model
from pdc_core.runs import measured_sweep
from ui.runs.compare import Cost, label_of

_WORDS = {"yes": "yes", "no": "no", "": "not said"}


def measured_points() -> pd.DataFrame:
    """Return the sweep of the first network that PDC comes with, as a table of points."""
    return measured_sweep().assign(run="")  # none of its runs can be opened here


def measured_name(measured: pd.DataFrame) -> str:
    """Return what a person calls that sweep: by which version it was measured, and when."""
    if not len(measured):
        return ""
    first = measured.iloc[0]
    return f"measured with {first['versions'].split(',')[0]}, {first['date'][:10]}"


def published_points(label: str, axis: Cost, change: bool) -> pd.DataFrame:
    """Return published results for a network as the chart takes them; none where they do not fit, or have no such cost.

    Papers give the share of the MACs that is cut; the MACs follow from those of the network here.
    """
    fitting = [each for each in literature_networks() if label.startswith(label_of(*each, "shipped"))]
    if axis.column != "macs" or not fitting:
        return pd.DataFrame(columns=["method", "cost", "before_cost", "accuracy", "hover"])
    table, macs = literature_results(*fitting[0]), axis.scale * _macs(*fitting[0])
    table = table.assign(
        cost=macs * (1 - table["macs_cut"]),
        before_cost=macs,
        accuracy=table["change"] if change else table["pruned_accuracy"],
        hover=[_hover(row) for row in table.to_dict("records")],
    )
    return table.dropna(subset=["accuracy"])


def draw_sources(published: pd.DataFrame) -> None:
    """Draw the table of published results with their sources."""
    with st.expander(f"Sources of the {len(published)} published results"):
        st.markdown(
            "Numbers of papers, not measured here: their networks, training and test protocols differ. An empty cell "
            "was not given, or could not be checked. FLOPs of papers are MACs."
        )
        percent = {name: 100 * published[name] for name in ("base_accuracy", "pruned_accuracy", "change", "macs_cut")}
        st.dataframe(
            published.assign(**percent)[
                ["method", "base_accuracy", "pruned_accuracy", "change", "macs_cut", "epochs", "distilled",
                 "fine_tuned", "repeats", "paper", "year", "source", "note"]
            ],
            hide_index=True,
            column_config={
                "base_accuracy": st.column_config.NumberColumn("base", format="%.2f %%"),
                "pruned_accuracy": st.column_config.NumberColumn("pruned", format="%.2f %%"),
                "change": st.column_config.NumberColumn("change [points]", format="%+.2f"),
                "macs_cut": st.column_config.NumberColumn("FLOPs cut", format="%.1f %%"),
                "fine_tuned": "fine-tuned after",
                "repeats": st.column_config.TextColumn("runs", help="One run, or the mean of several."),
                "year": st.column_config.NumberColumn(format="%d"),
            },
        )  # fmt: skip


def _hover(row: dict[str, Any]) -> str:
    base, pruned = row["base_accuracy"], row["pruned_accuracy"]
    accuracies = "" if pd.isna(base) else f"{100 * base:.2f} → {100 * pruned:.2f} %, "
    return (
        f"<b>{row['method']}</b> ({row['year']})<br>{accuracies}{100 * row['change']:+.2f} points, "
        f"{100 * row['macs_cut']:.1f} % of the FLOPs cut<br>distilled: {_WORDS[row['distilled']]}, "
        f"fine-tuned: {_WORDS[row['fine_tuned']]}<br>{row['source']}"
    )


@st.cache_data(show_spinner=False, max_entries=8)
def _macs(network: str, data: str) -> int:
    return cost(load_model(network, data=data, weights="random"), describe_data(data).example).macs
