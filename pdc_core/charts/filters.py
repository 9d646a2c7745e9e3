"""The map of one group's filters, coloured and shaped by cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdc_core.charts.figure import blank
from pdc_core.charts.palette import GREY, colour, symbol

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

LEGEND_LIMIT = 12
LABEL_LIMIT = 32
_NO_SCALE = {"showticklabels": False, "zeroline": False}


def filter_map(frame: pd.DataFrame, title: str, axes: tuple[str, str], highlight: int | None = None) -> go.Figure:
    """Draw the filters of one group as points, coloured and shaped by cluster.

    Parameters
    ----------
    frame : DataFrame
        Columns `x`, `y`, `filter` (index) and `cluster` (label).
    title : str
        Title of the figure.
    axes : tuple of str
        Two axis labels.
    highlight : int, optional
        The one cluster to keep in colour; all others turn grey.

    Returns
    -------
    plotly.graph_objects.Figure
        One trace per cluster or one for all.
    """
    import plotly.graph_objects as go

    clusters = sorted(frame["cluster"].unique())
    named = len(clusters) <= LEGEND_LIMIT
    figure = blank(
        title,
        *axes,
        height=500,
        alt=f"Map of {len(frame)} filters in {len(clusters)} clusters.",
        legend=named,
        xaxis=_NO_SCALE,
        yaxis=_NO_SCALE,
    )
    pieces = [("", frame)]
    if named:
        pieces = [(_cluster_name(frame, c), frame[frame["cluster"] == c]) for c in clusters]
    for name, piece in pieces:
        faded = piece["cluster"] != highlight if highlight is not None else piece["cluster"] < 0
        figure.add_trace(
            go.Scatter(
                x=piece["x"],
                y=piece["y"],
                name=name,
                mode="markers+text" if len(frame) <= LABEL_LIMIT else "markers",
                text=piece["filter"],
                textposition="top center",
                customdata=[int(i) for i in piece["filter"]],
                marker={
                    "size": 16 if len(frame) <= LABEL_LIMIT else 12 if len(frame) <= 256 else 8,
                    "color": [GREY if f else colour(int(c)) for c, f in zip(piece["cluster"], faded, strict=True)],
                    "symbol": [symbol(int(c)) for c in piece["cluster"]],
                    "opacity": [0.35 if f else 0.95 for f in faded],
                    "line": {"width": 1, "color": "rgba(255,255,255,0.7)"},
                },
                hovertext=[f"filter {f}, cluster {c}" for f, c in zip(piece["filter"], piece["cluster"], strict=True)],
                hoverinfo="text",
            )
        )
    return figure


def _cluster_name(frame: pd.DataFrame, cluster: int) -> str:
    members = int((frame["cluster"] == cluster).sum())
    return f"{cluster}: {members} filter" + ("s" if members != 1 else "")
