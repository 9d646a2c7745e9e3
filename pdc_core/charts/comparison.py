"""Runs side by side: what each costs and keeps, class by class, and how much faster it really is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pdc_core.analysis.metrics import pareto_front
from pdc_core.charts.figure import blank
from pdc_core.charts.palette import BLUE, GREY, ORANGE, VERMILION, colour, symbol

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_CLASSES_DRAWN = 100


def accuracy_against(frame: pd.DataFrame, quantity: str, unit: str, chosen: str | None = None) -> go.Figure:
    """Draw test accuracy against a cost for every run, joined from before over reconstructed to folded, and the front.

    Parameters
    ----------
    frame : DataFrame with columns `run` (name), `stage` ("before", "reconstructed", "folded"), `cost`, `accuracy`
        (0 to 1), one row a stage in that order
    quantity, unit : what `cost` is, such as "MACs", "of one image [millions]"
    chosen : the run to draw in full colour, by name
    """
    import plotly.graph_objects as go

    runs = list(dict.fromkeys(frame["run"]))
    front = frame[pareto_front(frame["cost"], frame["accuracy"])].sort_values("cost")
    figure = blank(
        f"Test accuracy against {quantity}: before, reconstructed, folded",
        x=f"{quantity} {unit}", y="test accuracy [%]", height=460, legend=True, xaxis={"rangemode": "tozero"},
        alt=f"{len(runs)} runs; {len(front)} points are on the Pareto front, the best is "
        f"{100 * float(frame['accuracy'].max()):.2f} percent.",
    )  # fmt: skip
    figure.add_trace(
        go.Scatter(
            x=front["cost"], y=100 * front["accuracy"], name="Pareto front", mode="lines", hoverinfo="skip",
            line={"color": GREY, "width": 2, "dash": "dot", "shape": "hv"},
        )
    )  # fmt: skip
    marks = {"before": "-open", "reconstructed": "-open-dot", "folded": ""}
    for i, run in enumerate(runs):
        points = frame[frame["run"] == run]
        faded = chosen is not None and run != chosen
        figure.add_trace(
            go.Scatter(
                x=points["cost"], y=100 * points["accuracy"], name=run, mode="lines+markers",
                opacity=0.45 if faded else 1.0, line={"color": colour(i), "width": 2},
                marker={
                    "size": 11 if faded else 15, "color": colour(i), "line": {"width": 2, "color": colour(i)},
                    "symbol": [symbol(i) + marks[stage] for stage in points["stage"]],
                },
                customdata=[f"{run}, {stage}" for stage in points["stage"]],
                hovertemplate="%{customdata}: %{y:.2f} %, %{x:.4g} " + f"{quantity} {unit}<extra></extra>",
            )
        )  # fmt: skip
    return figure


def class_changes(classes: Sequence[str], before: NDArray[Any], after: NDArray[Any]) -> go.Figure:
    """Draw how much the accuracy of every class changed, the largest loss on top.

    Parameters
    ----------
    classes : (c,) names
    before, after : accuracies (c,), 0 to 1; NaN for a class without examples
    """
    import plotly.graph_objects as go

    change = 100 * (np.asarray(after) - np.asarray(before))
    order = [i for i in np.argsort(change, kind="stable") if np.isfinite(change[i])][:_CLASSES_DRAWN]
    figure = blank(
        "Accuracy of each class: folded minus before", x="change [percentage points]", y="",
        height=120 + 24 * max(4, len(order)),
        yaxis={"autorange": "reversed", "showgrid": False, "type": "category"},
        alt=f"{sum(change[i] < 0 for i in order)} of {len(order)} classes lose accuracy, "
        f"{sum(change[i] > 0 for i in order)} gain.",
    )  # fmt: skip
    figure.add_trace(
        go.Bar(
            x=[change[i] for i in order], y=[classes[i] for i in order], orientation="h",
            marker_color=[VERMILION if change[i] < 0 else BLUE for i in order],
            customdata=[[100 * before[i], 100 * after[i]] for i in order],
            hovertemplate="%{y}: %{customdata[0]:.1f} % before, %{customdata[1]:.1f} % folded<extra></extra>",
        )
    )  # fmt: skip
    return figure


def confusion_change(classes: Sequence[str], before: NDArray[Any], after: NDArray[Any]) -> go.Figure:
    """Draw which confusions the folded network makes more often (orange) or less often (blue).

    Parameters
    ----------
    classes : (c,) names
    before, after : confusion counts (c, c), rows are the truth
    """
    import plotly.graph_objects as go

    change = (np.asarray(after) - np.asarray(before)).astype(float)
    np.fill_diagonal(change, 0)  # right answers are the chart of classes
    bound = max(1.0, float(np.abs(change).max()))
    more, less = int(change[change > 0].sum()), int(-change[change < 0].sum())
    figure = blank(
        f"Confusions: {more} more, {less} fewer than before", x="named class", y="true class",
        height=max(380, min(760, 120 + 24 * len(classes))),
        yaxis={"autorange": "reversed", "showgrid": False, "type": "category"},
        xaxis={"showgrid": False, "type": "category", "tickangle": -60 if len(classes) > 10 else 0},
        alt=f"A grid of {len(classes)} true by {len(classes)} named classes.",
    )  # fmt: skip
    figure.add_trace(
        go.Heatmap(
            x=list(classes), y=list(classes), z=change, zmin=-bound, zmax=bound, xgap=1, ygap=1,
            colorscale=[[0, BLUE], [0.5, "#F6F6F6"], [1, VERMILION]], colorbar={"title": {"text": "images"}},
            hovertemplate="%{y} called %{x}: %{z:+.0f} images<extra></extra>",
        )
    )  # fmt: skip
    return figure


def speed_up(latencies: Mapping[int, tuple[float, float]], macs_ratio: float) -> go.Figure:
    """Draw how many times faster the folded network is at each batch size, beside how many times fewer MACs it has.

    Parameters
    ----------
    latencies : batch size -> (seconds before, seconds folded)
    macs_ratio : MACs before / MACs folded
    """
    import plotly.graph_objects as go

    names = [f"{batch} image{'s' if batch > 1 else ''}" for batch in latencies]
    gains = [before / max(after, 1e-12) for before, after in latencies.values()]
    figure = blank(
        f"Real speed-up beside {macs_ratio:.1f} times fewer MACs", x="images in a batch", y="times faster than before",
        height=360, legend=True, yaxis={"rangemode": "tozero"}, xaxis={"type": "category", "showgrid": False},
        alt=", ".join(f"{name}: {gain:.2f} times faster" for name, gain in zip(names, gains, strict=True)) + ".",
    )  # fmt: skip
    figure.add_trace(
        go.Bar(
            x=names, y=gains, name="measured", marker_color=BLUE, width=0.5,
            text=[f"{gain:.2f}×" for gain in gains], textposition="outside", cliponaxis=False,
            customdata=[[1000 * b, 1000 * a] for b, a in latencies.values()],
            hovertemplate="%{x}: %{customdata[0]:.2f} ms before, %{customdata[1]:.2f} ms folded<extra></extra>",
        )
    )  # fmt: skip
    figure.add_trace(
        go.Scatter(
            x=names, y=[macs_ratio] * len(names), name=f"MACs cut, {macs_ratio:.2f}×", mode="lines",
            line={"color": ORANGE, "width": 3, "dash": "dash"}, hoverinfo="skip",
        )
    )  # fmt: skip
    figure.update_layout(yaxis_range=[0, 1.2 * max(*gains, macs_ratio)])
    return figure
