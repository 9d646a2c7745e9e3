"""Figures of the notebooks besides the app's: tiles of filters, curves, and accuracies over seeds."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike, NDArray

from pdc_core.charts.figure import blank, line
from pdc_core.charts.kernels import kernel_picture
from pdc_core.charts.palette import BLUE, GREY, SIGNED, VERMILION, colour, symbol

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_DASHES = ("solid", "dash", "dot", "dashdot")
_SCALE = 4  # pixels of a weight
_WIDTH = 900  # pixels that a picture is expected to get


def tiles(
    filters: NDArray[Any], title: str, names: Sequence[str] | None = None, columns: int = 16, bound: float | None = None
) -> go.Figure:
    """Draw filters, or their outputs, as tiles in signed colours, one scale for all.

    Parameters
    ----------
    filters : array of float, shape (n, c, kh, kw)
        The c input channels of a filter are side by side in its tile.
    title : str
        Title of the figure.
    names : sequence of str, optional
        To be written under each tile.
    columns : int, default 16
        Tiles per row.
    bound : float, optional
        The |weight| of full colour, see `kernel_picture`.

    Returns
    -------
    plotly.graph_objects.Figure
        A picture.
    """
    import plotly.graph_objects as go
    from PIL import Image

    picture = kernel_picture(filters, columns, _SCALE, bound)  # (height, width, 4)
    columns, rows = min(columns, len(filters)), -(-len(filters) // columns)
    height, width = picture.shape[0] / rows, picture.shape[1] / columns
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="png")
    hidden = {"visible": False, "showgrid": False, "zeroline": False}
    figure = blank(
        title,
        x="",
        y="",
        height=60 + max(60, min(620, round(_WIDTH * picture.shape[0] / picture.shape[1]))),
        xaxis={**hidden, "constrain": "domain"},
        yaxis={**hidden, "scaleanchor": "x", "constrain": "domain"},
        alt=f"{len(filters)} tiles. Colours: {SIGNED}.",
    )
    source = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    figure.add_trace(go.Image(source=source, hoverinfo="skip"))
    for i, name in enumerate(names or ()):
        x, y = (i % columns + 0.5) * width - 2 * _SCALE, (i // columns + 1) * height - 2 * _SCALE
        figure.add_annotation(x=x, y=y, text=name, showarrow=False, font={"size": 11})
    return figure


def curves(
    series: Mapping[str, tuple[ArrayLike, ArrayLike]],
    title: str,
    x: str,
    y: str,
    marked: float | None = None,
    over: str = "",
) -> go.Figure:
    """Draw named curves over one axis.

    Parameters
    ----------
    series : mapping of str to (array of float, array of float)
        x values and y values, by the name of the curve.
    title, x, y : str
        Title of the figure and of its axes, with units.
    marked : float, optional
        A place on the x axis to mark.
    over : str, default ""
        The name of x on hover, such as "k"; by default the axis title.

    Returns
    -------
    plotly.graph_objects.Figure
        One trace per curve.
    """
    figure = blank(title, x=x, y=y, height=360, legend=True, alt=f"Curves of {', '.join(series)}.")
    for i, (name, (across, up)) in enumerate(series.items()):
        line(figure, across, up, name, colour(i), _DASHES[i % len(_DASHES)], over=over or x)  # type: ignore[arg-type]
    if marked is not None:
        figure.add_vline(x=marked, line={"color": VERMILION, "width": 2, "dash": "dot"})
    return figure


def over_seeds(frame: pd.DataFrame, title: str, whole: float | None = None) -> go.Figure:
    """Draw the accuracy of every method: one open mark per seed, the mean with one standard deviation each way.

    Parameters
    ----------
    frame : DataFrame
        Columns `method` and `accuracy` (0 to 1), one row per seed.
    title : str
        Title of the figure.
    whole : float, optional
        Accuracy of the network before pruning, 0 to 1.

    Returns
    -------
    plotly.graph_objects.Figure
        One row per method.
    """
    import plotly.graph_objects as go

    methods = list(dict.fromkeys(frame["method"]))
    groups = {name: 100 * frame.loc[frame["method"] == name, "accuracy"] for name in methods}
    spread = {name: float(values.std(ddof=1)) if len(values) > 1 else 0.0 for name, values in groups.items()}
    figure = blank(
        title,
        x="test accuracy [%]",
        y="",
        height=130 + 46 * len(methods),
        yaxis={"autorange": "reversed", "showgrid": False, "type": "category"},
        alt="; ".join(f"{name}: {groups[name].mean():.1f} ± {spread[name]:.1f} %" for name in methods) + ".",
    )
    for i, name in enumerate(methods):
        values = groups[name]
        seeds = {"symbol": symbol(i) + "-open", "size": 9, "color": GREY}
        figure.add_trace(
            go.Scatter(x=values, y=[name] * len(values), mode="markers", marker=seeds, hoverinfo="x", showlegend=False)
        )
        figure.add_trace(
            go.Scatter(
                x=[values.mean()],
                y=[name],
                mode="markers",
                marker={"symbol": symbol(i), "size": 13, "color": colour(i)},
                error_x={"type": "data", "array": [spread[name]], "color": colour(i), "thickness": 2.5, "width": 7},
                hovertemplate=f"{name}: {values.mean():.2f} ± {spread[name]:.2f} %<extra></extra>",
                showlegend=False,
            )
        )
    if whole is not None:
        figure.add_vline(x=100 * whole, line={"color": BLUE, "width": 2, "dash": "dash"})
    return figure
