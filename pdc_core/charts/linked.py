"""Linked views of one group's filters: a map whose points show their kernel on hover, and a grid of all kernels.

Both are drawn by altair: plotly shows no images on hover, and a page that needs only one of the two is there sooner.
Both report which filters are chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pdc_core.charts.palette import GREY, VERMILION, colour, symbol

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

CLICK, BRUSH = "click", "brush"
MAP_HEIGHT = 470
FONT = "Source Sans, sans-serif"
GRID_WIDTH = 316  # pixels: fits beside the map on a projector of 1280
LABELLED = 32  # filters that still carry their number on the map
NUMBERED = 16  # and in the grid
# Vega's shapes for the plotly symbols of `palette`; a path lies within -1..1.
_SHAPES = {
    "x": "M-.9,-.5L-.5,-.9L0,-.4L.5,-.9L.9,-.5L.4,0L.9,.5L.5,.9L0,.4L-.5,.9L-.9,.5L-.4,0Z",
    "star": "M0,-1L.29,-.4L.95,-.31L.48,.15L.59,.81L0,.5L-.59,.81L-.48,.15L-.95,-.31L-.29,-.4Z",
}
_CROSSHAIR = "M-1,-.12L-.12,-.12L-.12,-1L.12,-1L.12,-.12L1,-.12L1,.12L.12,.12L.12,1L-.12,1L-.12,.12L-1,.12Z"


def linked_map(
    frame: pd.DataFrame,
    centres: pd.DataFrame,
    title: str,
    axes: tuple[str, str],
    ink: str = GREY,
    chosen: Sequence[int] = (),
    highlight: int | None = None,
) -> alt.LayerChart:
    """Draw filters as points with their kernels on hover; a click or a drag chooses filters.

    Parameters
    ----------
    frame : DataFrame with columns `x`, `y`, `filter`, `cluster` and `image` (a data URL of the kernel)
    centres : DataFrame with columns `x`, `y`, `cluster`: where the centroids are
    title, axes : as in `filter_map`
    ink : colour of text, for a light or a dark page
    chosen : filters that were chosen elsewhere and are ringed
    highlight : the one cluster to keep in colour

    Returns
    -------
    A chart with two selections: `CLICK` (points, by `filter`) and `BRUSH` (an interval of x and y).
    """
    import altair as alt

    n = len(frame)
    size = 260 if n <= LABELLED else 130 if n <= 256 else 60 if n <= 1024 else 40
    seen = [highlight is None or int(c) == highlight for c in frame["cluster"]]
    points = frame.assign(
        colour=[colour(int(c)) if own else GREY for c, own in zip(frame["cluster"], seen, strict=True)],
        shape=[_shape(int(c)) for c in frame["cluster"]],
        opacity=[0.9 if own else 0.3 for own in seen],
        ring=[3.0 if int(i) in set(chosen) else 0.6 for i in frame["filter"]],
        edge=[ink if int(i) in set(chosen) else "white" for i in frame["filter"]],
        label=["filter " + str(int(i)) + ", cluster " + str(int(c)) for i, c in zip(frame["filter"], frame["cluster"])],  # noqa: B905
    )
    click = alt.selection_point(name=CLICK, fields=["filter"], on="click", toggle="event.shiftKey", empty=False)
    brush = alt.selection_interval(name=BRUSH, empty=False)
    axis = alt.Axis(labels=False, ticks=False, domain=False, gridOpacity=0.25, titleColor=ink, titleFontSize=14)
    scale = alt.Scale(zero=False, nice=False, padding=24)
    place = {
        "x": alt.X("x:Q", title=axes[0], axis=axis, scale=scale),
        "y": alt.Y("y:Q", title=axes[1], axis=axis, scale=scale),
    }
    picked = (click | brush) if n else click
    marks = (
        alt.Chart(points)
        .mark_point(filled=True, size=size)
        .encode(
            **place,
            color=alt.Color("colour:N", scale=None),
            shape=alt.Shape("shape:N", scale=None),
            opacity=alt.Opacity("opacity:Q", scale=None),
            stroke=alt.condition(picked, alt.value(ink), alt.Stroke("edge:N", scale=None)),
            strokeWidth=alt.condition(picked, alt.value(3), alt.StrokeWidth("ring:Q", scale=None)),
            tooltip=[alt.Tooltip("label:N", title="this is"), alt.Tooltip("image:N")],
        )
        .add_params(click, brush)
    )
    layers = [marks]
    if len(centres):
        crosses = alt.Chart(centres).mark_point(shape=_CROSSHAIR, filled=True, size=2.2 * size, color=ink, opacity=0.85)
        layers.append(crosses.encode(**place, tooltip=[alt.Tooltip("cluster:N", title="centroid of cluster")]))
    if n <= LABELLED:
        numbers = alt.Chart(points).mark_text(dy=-16, fontSize=13, color=ink)
        layers.append(numbers.encode(**place, text="filter:N"))
    return (
        alt.layer(*layers)
        .properties(height=MAP_HEIGHT, title=_heading(title, ink), background="transparent")
        .configure_view(strokeWidth=0)
        .configure(font=FONT)
    )


def _heading(title: str, ink: str) -> alt.TitleParams:
    import altair as alt

    return alt.TitleParams(title, anchor="start", fontSize=16, color=ink, offset=8)


def _shape(cluster: int) -> str:
    name = symbol(cluster)
    return _SHAPES.get(name, name)


def grid_columns(n: int) -> int:
    """Return how many tiles a row of the grid of n kernels has.

    >>> [grid_columns(n) for n in (8, 16, 32, 64, 256, 2048)]
    [4, 4, 6, 8, 16, 32]
    """
    return next((columns for limit, columns in ((16, 4), (36, 6), (64, 8), (256, 16)) if n <= limit), 32)


def kernel_grid(
    picture: str,
    order: NDArray[np.int64],
    labels: NDArray[np.int64],
    title: str,
    ink: str = GREY,
    chosen: Sequence[int] = (),
) -> alt.LayerChart:
    """Draw the kernels of a group as a grid of tiles, cluster after cluster; a click chooses one, with shift more.

    Parameters
    ----------
    picture : data URL of the tiles in the order given, `grid_columns(n)` in a row (see `kernel_picture`)
    order : (n,), the filter in each tile
    labels : (n,), the cluster of each filter
    ink : colour of text, for a light or a dark page
    chosen : filters that were chosen elsewhere and are framed

    Returns
    -------
    A chart with the selection `CLICK` (points, by `filter`).
    """
    import altair as alt
    import pandas as pd

    n = len(order)
    columns = grid_columns(n)
    rows = -(-n // columns)
    side = GRID_WIDTH / columns
    framed = set(map(int, chosen))
    column, row = np.arange(n) % columns, np.arange(n) // columns
    tiles = pd.DataFrame(
        {
            "x": column + 0.42,  # a tile's gap is to the right of it and below it
            "y": row + 0.42,
            "mark_x": column + 0.07,
            "mark_y": row + 0.91,
            "filter": order,
            "label": [f"filter {i}, cluster {labels[i]}" for i in order],
            "frame": [3 if int(i) in framed else 0 for i in order],
            "colour": [colour(int(labels[i])) for i in order],
            "shape": [_shape(int(labels[i])) for i in order],
        }
    )
    across, down = alt.Scale(domain=[0, columns], nice=False), alt.Scale(domain=[rows, 0], nice=False)
    place = {"x": alt.X("x:Q", axis=None, scale=across), "y": alt.Y("y:Q", axis=None, scale=down)}
    click = alt.selection_point(name=CLICK, fields=["filter"], on="click", toggle="event.shiftKey", empty=False)
    whole = pd.DataFrame({"x": [columns / 2], "y": [rows / 2], "url": [picture]})
    kernels = alt.Chart(whole).mark_image(width=GRID_WIDTH, height=rows * side, aspect=False)
    frames = alt.Chart(tiles).mark_square(size=(0.9 * side) ** 2, fill="transparent", stroke=VERMILION)
    marks = alt.Chart(tiles).mark_point(
        filled=True, opacity=1, size=max(7 if n <= 64 else 4, min(11, 0.12 * side)) ** 2
    )
    where = {"x": alt.X("mark_x:Q", axis=None, scale=across), "y": alt.Y("mark_y:Q", axis=None, scale=down)}
    layers = [
        kernels.encode(**place, url="url:N"),
        marks.encode(**where, color=alt.Color("colour:N", scale=None), shape=alt.Shape("shape:N", scale=None)),
    ]
    if n <= NUMBERED:
        layers.append(
            alt.Chart(tiles).mark_text(align="left", dx=8, fontSize=13, color=ink).encode(**where, text="filter:N")
        )
    width = alt.condition(click, alt.value(3), alt.StrokeWidth("frame:Q", scale=None))
    layers.append(
        frames.encode(**place, strokeWidth=width, tooltip=alt.Tooltip("label:N", title="this is")).add_params(click)
    )
    return (
        alt.layer(*layers)
        .properties(width=GRID_WIDTH, height=rows * side, title=_heading(title, ink), background="transparent")
        .properties(
            autosize="pad", padding={"top": 0, "left": 0, "right": 0, "bottom": 0}
        )  # tiles keep their size, whatever stands around them
        .configure_view(strokeWidth=0)
        .configure(font=FONT)
    )
