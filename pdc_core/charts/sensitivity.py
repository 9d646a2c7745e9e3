"""The sensitivity of every group, by which plans are chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdc_core.charts.figure import blank
from pdc_core.charts.palette import GREY, VERMILION, colour, symbol

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

NAMED = 12


def sensitivity_curves(frame: pd.DataFrame, whole: float, highlight: str | None = None) -> go.Figure:
    """Draw the accuracy with one group clustered against the share of its filters kept, one curve per group.

    Parameters
    ----------
    frame : DataFrame
        Columns `group`, `keep` (0 to 1), `k` and `accuracy` (0 to 1).
    whole : float
        Accuracy of the whole network on the same images, 0 to 1.
    highlight : str, optional
        The one group to keep in colour.

    Returns
    -------
    plotly.graph_objects.Figure
        One curve per group.
    """
    import plotly.graph_objects as go

    groups = list(dict.fromkeys(frame["group"]))
    worst = frame.loc[frame["accuracy"].idxmin()] if len(frame) else None
    figure = blank(
        f"One layer merged; with none {100 * whole:.1f} %",
        x="filters kept in that layer [%]",
        y="validation accuracy [%]",
        height=430,
        legend=len(groups) <= NAMED,
        legend_below=True,
        alt=f"{len(groups)} curves; the lowest point is {worst['group']} with {int(worst['k'])} clusters."
        if worst is not None
        else "Nothing is measured yet.",
        xaxis={"range": [0, 102]},
    )
    for i, group in enumerate(groups):
        own = frame[frame["group"] == group].sort_values("keep")
        faded = highlight is not None and group != highlight
        figure.add_trace(
            go.Scatter(
                x=[*(100 * own["keep"]), 100],
                y=[*(100 * own["accuracy"]), 100 * whole],
                name=group,
                mode="lines+markers",
                opacity=0.25 if faded else 1,
                line={"color": GREY if faded else colour(i), "width": 4 if group == highlight else 2},
                marker={"size": 9, "symbol": symbol(i)},
                customdata=[*map(int, own["k"]), "all"],
                hovertemplate=group + ", %{customdata} clusters: %{y:.1f} %<extra></extra>",
            )
        )
    figure.add_hline(y=100 * whole, line={"color": VERMILION, "width": 1.5, "dash": "dash"})
    return figure
