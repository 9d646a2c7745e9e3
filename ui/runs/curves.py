"""The chart of the page Compare: all runs that are left by the filters, what they say, and their files."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from pdc_core import charts
from pdc_core.analysis.trade_offs import mean_over_seeds
from pdc_core.baselines import WHOLE
from pdc_core.runs import COLUMNS
from ui.choice import lecture
from ui.drawing import draw_finished, finished, look, percent
from ui.runs.progress import select_run
from ui.runs.view import BARS, FRONT, MEASURED, PUBLISHED, STAGES, View

CHART = "accuracy_over_cost"


def draw_curves(view: View, chosen: str, stages: pd.DataFrame | None, measured_name: str) -> None:
    """Draw the chart; a click on a run chooses it."""
    own = len(view.points) > 0
    points = view.points if own else view.measured
    title = f"{view.label}: {'change of ' if view.change else ''}test accuracy against {view.axes.cost}"
    drawn = _drawn(
        points, view.axes, title if own or not len(points) else f"{title}, {measured_name}", look(),
        chosen=chosen,
        stages=stages if STAGES in view.layers else None,
        bars=BARS in view.layers,
        front=FRONT in view.layers or not own,
        measured=view.measured if MEASURED in view.layers else None,
        measured_name=measured_name,
        published=view.published if PUBLISHED in view.layers or not len(points) else None,
    )  # fmt: skip
    draw_finished(drawn, CHART, on_select=_take)


@st.cache_resource(show_spinner=False, max_entries=64)
def _drawn(points: pd.DataFrame, axes: charts.Axes, title: str, look: tuple[str, bool], **options: Any) -> Any:
    """Return the finished chart; it takes tenths of a second, and all who see the same runs share it."""
    return finished(charts.accuracy_over_cost(points, axes, title, **options), look)


def draw_reading(view: View, chosen: str, measured_name: str) -> None:
    """Say what is drawn, how sure it is, and how much of it is training's."""
    own = len(view.points) > 0
    points = view.points if own else view.measured
    if not len(points):
        return
    st.markdown(reference_sentence(points, chosen))
    n_test = points["n_test"].dropna()
    means = mean_over_seeds(points)
    parts = [f"{len(points)} run{'s' if len(points) != 1 else ''}{'' if own else ', ' + measured_name}"]
    if means["runs"].max() > 1:
        parts.append("small markers are runs, curves their means over seeds, bands one standard deviation")
    if len(n_test):
        n = int(n_test.iloc[0])
        parts.append(
            f"the grey band is the 95 % interval of {n:,} test images around the uncompressed network "
            f"(one image is {100 / n:.2g} points)"
        )
    st.caption("; ".join(parts) + (". Click a run to see it below." if own else "."))


def reference_sentence(points: pd.DataFrame, chosen: str) -> str:
    """Say how much of a rise over the network before is training's, which runs of the method `whole` show."""
    run = points[points["run"] == chosen] if chosen else points.iloc[:0]
    whole = points[points["method"] == WHOLE]
    if len(run):
        whole = whole[whole["settings"] == run["settings"].iloc[0]]
    before = float(points["before_accuracy"].iloc[0])
    if not len(whole):
        if points["accuracy"].max() <= before:
            return ""
        which = "Some runs are" if len(points) > 1 else "The run is"
        return (
            f"{which} above the uncompressed network. Training alone may have done that: a run of the method `{WHOLE}` "
            "with the same settings, which trains as long and prunes nothing, shows how much."
        )
    mean, n = float(whole["accuracy"].mean()), len(whole)
    sentence = (
        f"**Trained as long, not pruned**, the network reaches **{percent(mean, 2)}**"
        f"{f' (mean of {n})' if n > 1 else ''}: {100 * (mean - before):+.2f} points over {percent(before, 2)} before. "
        "That difference comes from training, not from compression."
    )
    if len(run) and run["method"].iloc[0] != WHOLE:
        lost = 100 * (float(run["accuracy"].iloc[0]) - mean)
        sentence += f" The chosen run is {abs(lost):.2f} points {'below' if lost < 0 else 'above'} that."
    return sentence


def draw_chart_files(view: View) -> None:
    """Draw the buttons that save the points and choose how charts are saved."""
    runs = view.points if len(view.points) else view.measured
    table = (
        runs[list(COLUMNS)] if len(runs) else view.published.drop(columns=["cost", "before_cost", "accuracy", "hover"])
    )
    row = st.columns([1, 1, 3], gap="small", vertical_alignment="bottom")
    row[0].download_button(
        "Points (CSV)", table.to_csv(index=False), "pdc-points.csv", "text/csv", on_click="ignore", width="stretch",
        help="The results in the chart, one per row.",
    )  # fmt: skip
    if not lecture():
        row[1].segmented_control(
            "Image format of charts", ["PNG", "SVG"], default="PNG", required=True, key="picture",
            help="The camera button in the corner of a chart saves it in this format.", persist_state="session",
        )  # fmt: skip


def picked_run(state: Any) -> str:
    """Return the id of the run that a click on the chart picked, or ""."""
    for point in state["selection"]["points"]:
        named = point.get("customdata")
        name = named[0] if isinstance(named, list) else named
        if name:
            return str(name)
    return ""


def _take() -> None:
    name = picked_run(st.session_state[CHART])
    if name:
        select_run(name)
