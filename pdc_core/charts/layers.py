"""The cost of each layer, alone and before and after a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdc_core.charts.figure import blank
from pdc_core.charts.palette import BLUE, short

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_FIRST_ON_TOP = {"autorange": "reversed", "showgrid": False}


def rows_height(rows: int) -> int:
    """Return the height of a bar chart of layers; a table beside it looks best at the same height.

    Parameters
    ----------
    rows : int
        Layers.

    Returns
    -------
    int
        Pixels.
    """
    return 110 + 21 * max(rows, 4)


def layer_bars(frame: pd.DataFrame, quantity: str, unit: str) -> go.Figure:
    """Draw the cost of each layer as horizontal bars, first layer on top.

    Parameters
    ----------
    frame : DataFrame
        Columns `name` and `value`.
    quantity, unit : str
        The name of `value`, such as "MACs", and its unit, such as "for one image".

    Returns
    -------
    plotly.graph_objects.Figure
        One bar per layer.
    """
    import plotly.graph_objects as go

    total = int(frame["value"].sum())
    figure = blank(
        f"{quantity} of each layer: {short(total)} in all",
        x=f"{quantity} {unit}",
        y="",
        height=rows_height(len(frame)),
        yaxis=_FIRST_ON_TOP,
        alt=f"{len(frame)} bars, the longest is {frame['name'].iloc[int(frame['value'].argmax())]}.",
    )
    figure.add_trace(
        go.Bar(
            x=frame["value"],
            y=frame["name"],
            orientation="h",
            marker_color=BLUE,
            hovertemplate="%{y}: %{x:,} " + quantity + "<extra></extra>",
        )
    )
    return figure


def before_after_bars(frame: pd.DataFrame, quantity: str, unit: str) -> go.Figure:
    """Draw a quantity of each layer before and after as nested horizontal bars, first layer on top.

    Parameters
    ----------
    frame : DataFrame
        Columns `name`, `before` and `after`.
    quantity, unit : str
        As in `layer_bars`.

    Returns
    -------
    plotly.graph_objects.Figure
        Two bars per layer.
    """
    import plotly.graph_objects as go

    before, after = int(frame["before"].sum()), int(frame["after"].sum())
    figure = blank(
        f"{quantity} of each layer: {short(before)} before, {short(after)} after",
        x=f"{quantity} {unit}",
        y="",
        height=rows_height(len(frame)) + 32,
        legend=True,
        yaxis=_FIRST_ON_TOP,
        barmode="overlay",
        alt=f"Bars: {quantity} of {len(frame)} layers, {before:,} before and {after:,} after in all.",
    )
    for name, width, fill in (("before", 0.8, "rgba(138,138,138,0.35)"), ("after", 0.5, BLUE)):
        figure.add_trace(
            go.Bar(
                x=frame[name],
                y=frame["name"],
                name=name,
                orientation="h",
                width=width,
                marker_color=fill,
                hovertemplate="%{y} " + name + ": %{x:,}<extra></extra>",
            )
        )
    return figure
