"""The blank figure that every chart starts from, and the line that most of them draw.

Backgrounds are transparent and neutral colours readable on white and on black, so a figure survives dark
mode. `figure.layout.meta["alt"]` describes it in words.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pdc_core.charts.palette import GREY

if TYPE_CHECKING:
    import plotly.graph_objects as go


def blank(
    title: str,
    x: str,
    y: str,
    *,
    height: int,
    alt: str,
    legend: bool = False,
    legend_below: bool = False,
    xaxis: dict[str, Any] | None = None,
    yaxis: dict[str, Any] | None = None,
    **layout: Any,
) -> go.Figure:
    """Return an empty figure.

    The layout is given in one piece: plotly validates every later update again.

    Parameters
    ----------
    title, x, y : str
        Title of the figure and of its axes, with units.
    height : int
        Pixels.
    alt : str
        What the figure shows beyond its title, in words.
    legend : bool, default False
        Whether there is a legend.
    legend_below : bool, default False
        Whether it stands below the axes, where any number of entries has room, and not above them.
    xaxis, yaxis : dict, optional
        Further properties of the axes, as plotly names them.
    **layout : object
        Further properties of the layout, as plotly names them.

    Returns
    -------
    plotly.graph_objects.Figure
        Without traces.
    """
    import plotly.graph_objects as go

    axis = {
        "gridcolor": "rgba(138,138,138,0.25)",
        "zerolinecolor": "rgba(138,138,138,0.5)",
        "automargin": True,
        "tickfont": {"size": 13},
        "ticklabelstandoff": 6,
    }
    heading = {
        "text": title,
        "font": {"size": 16, "weight": 600},
        "x": 0,
        "xanchor": "left",
        "y": 1,
        "yref": "container",
        "yanchor": "top",
        "pad": {"t": 4},  # a notebook cuts off what touches the edge
    }
    return go.Figure(
        layout={
            "template": "none",
            "height": height,
            "meta": {"alt": f"{title}. {alt}"},
            "title": heading,
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"size": 14, "color": GREY},
            "margin": {"l": 10, "r": 10, "t": 72 if legend and not legend_below else 40, "b": 10},
            "showlegend": legend,
            "legend": {
                "orientation": "h",
                "x": 0,
                "xanchor": "left",
                "y": 0 if legend_below else 1,
                "yref": "container" if legend_below else "paper",
                "yanchor": "bottom",
            },
            "hoverlabel": {"font": {"size": 14}},
            "uirevision": "keep",
            "xaxis": {**axis, "title": {"text": x, "font": {"size": 14}}, **(xaxis or {})},
            "yaxis": {**axis, "title": {"text": y, "font": {"size": 14}}, **(yaxis or {})},
            **layout,
        }
    )


def line(
    figure: go.Figure,
    x: Iterable[float],
    y: Iterable[float],
    name: str,
    shade: str,
    dash: str,
    mode: str = "lines",
    over: str = "epoch",
) -> None:
    """Add a curve to a figure; on hover it shows its name, x, and y with three decimals.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        Changed in place.
    x, y : iterable of float
        The points.
    name : str
        For the legend.
    shade : str
        A CSS colour.
    dash : str
        A dash of plotly's, such as "solid" or "dot".
    mode : str, default "lines"
        A mode of plotly's.
    over : str, default "epoch"
        The name of x on hover.
    """
    import plotly.graph_objects as go

    figure.add_trace(
        go.Scatter(
            x=list(x),
            y=list(y),
            name=name,
            mode=mode,
            line={"color": shade, "dash": dash, "width": 2.5},
            marker={"size": 8},
            cliponaxis="markers" not in mode,  # the last marker lies on the edge
            hovertemplate=name + f" at {over} " + "%{x:.4~g}: %{y:.3f}<extra></extra>",
        )
    )
