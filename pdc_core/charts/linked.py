"""Linked views of one group's filters: a map whose points show their kernel on hover, and a grid of all kernels.

Both are specifications of Vega-Lite, plain dictionaries: plotly shows no images on hover, and importing altair to write
them takes a second or more. Both report which filters are chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pdc_core.charts.palette import GREY, VERMILION, colour, symbol

if TYPE_CHECKING:
    import pandas as pd

Spec = dict[str, Any]
CLICK, BRUSH = "click", "brush"
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
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
) -> Spec:
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
    A specification with two selections: `CLICK` (points, by `filter`) and `BRUSH` (an interval of x and y).
    """
    n, ringed = len(frame), set(map(int, chosen))
    size = 260 if n <= LABELLED else 130 if n <= 256 else 60 if n <= 1024 else 40
    seen = [highlight is None or int(c) == highlight for c in frame["cluster"]]
    points = frame.assign(
        colour=[colour(int(c)) if own else GREY for c, own in zip(frame["cluster"], seen, strict=True)],
        shape=[_shape(int(c)) for c in frame["cluster"]],
        opacity=[0.9 if own else 0.3 for own in seen],
        ring=[3.0 if int(i) in ringed else 0.6 for i in frame["filter"]],
        edge=[ink if int(i) in ringed else "white" for i in frame["filter"]],
        label=[f"filter {i}, cluster {c}" for i, c in zip(frame["filter"], frame["cluster"], strict=True)],
    )
    axis: Spec = {
        "labels": False, "ticks": False, "domain": False, "gridOpacity": 0.25, "titleColor": ink, "titleFontSize": 14,
    }  # fmt: skip
    scale = {"zero": False, "nice": False, "padding": 24}
    place: Spec = {
        name: {"field": name, "type": "quantitative", "title": said, "axis": axis, "scale": scale}
        for name, said in zip(("x", "y"), axes, strict=True)
    }
    picked = {"or": [_is_in(CLICK), _is_in(BRUSH)]}
    layers: list[Spec] = [
        {
            "name": "points",
            "data": _values(points),
            "mark": {"type": "point", "filled": True, "size": size},
            "encoding": {
                **place,
                "color": _as_is("colour"),
                "shape": _as_is("shape"),
                "opacity": _as_is("opacity", "quantitative"),
                "stroke": {"condition": {"test": picked, "value": ink}, **_as_is("edge")},
                "strokeWidth": {"condition": {"test": picked, "value": 3}, **_as_is("ring", "quantitative")},
                "tooltip": [_said("label", "this is"), _said("image", "image")],
            },
        }
    ]
    if len(centres):
        cross = {
            "type": "point", "shape": _CROSSHAIR, "filled": True, "size": 2.2 * size, "color": ink, "opacity": 0.85,
        }  # fmt: skip
        tooltip = _said("cluster", "centroid of cluster")
        layers.append({"data": _values(centres), "mark": cross, "encoding": {**place, "tooltip": tooltip}})
    if n <= LABELLED:
        text = {"type": "text", "dy": -16, "fontSize": 13, "color": ink}
        named = {**place, "text": {"field": "filter"}}
        layers.append({"data": _values(frame[["x", "y", "filter"]]), "mark": text, "encoding": named})
    params = [_click("points"), {"name": BRUSH, "select": "interval", "views": ["points"]}]
    return {**_frame(title, ink), "height": MAP_HEIGHT, "params": params, "layer": layers}


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
) -> Spec:
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
    A specification with the selection `CLICK` (points, by `filter`).
    """
    n, framed = len(order), set(map(int, chosen))
    columns = grid_columns(n)
    rows, side = -(-n // columns), GRID_WIDTH / columns
    tiles = [
        {
            "x": t % columns + 0.42,  # a tile's gap is to the right of it and below it
            "y": t // columns + 0.42,
            "mark_x": t % columns + 0.07,
            "mark_y": t // columns + 0.91,
            "filter": int(i),
            "label": f"filter {i}, cluster {labels[i]}",
            "frame": 3 if int(i) in framed else 0,
            "colour": colour(int(labels[i])),
            "shape": _shape(int(labels[i])),
        }
        for t, i in enumerate(order)
    ]

    def place(x: str, y: str) -> Spec:
        domains = {"x": (x, [0, columns]), "y": (y, [rows, 0])}
        return {
            channel: {
                "field": field, "type": "quantitative", "axis": None, "scale": {"domain": domain, "nice": False},
            }
            for channel, (field, domain) in domains.items()
        }  # fmt: skip

    middle, corner = place("x", "y"), place("mark_x", "mark_y")
    image = {"type": "image", "width": GRID_WIDTH, "height": rows * side, "aspect": False}
    mark = {"type": "point", "filled": True, "opacity": 1}
    mark["size"] = max(7 if n <= 64 else 4, min(11, 0.12 * side)) ** 2
    box = {"type": "square", "size": (0.9 * side) ** 2, "fill": "transparent", "stroke": VERMILION}
    width = {"condition": {"test": _is_in(CLICK), "value": 3}, **_as_is("frame", "quantitative")}
    layers = [
        {
            "data": {"values": [{"x": columns / 2, "y": rows / 2, "url": picture}]},
            "mark": image,
            "encoding": {**middle, "url": {"field": "url"}},
        },
        {"mark": mark, "encoding": {**corner, "color": _as_is("colour"), "shape": _as_is("shape")}},
        {
            "name": "tiles",
            "mark": box,
            "encoding": {**middle, "strokeWidth": width, "tooltip": _said("label", "this is")},
        },
    ]
    if n <= NUMBERED:
        text = {"type": "text", "align": "left", "dx": 8, "fontSize": 13, "color": ink}
        layers.insert(2, {"mark": text, "encoding": {**corner, "text": {"field": "filter"}}})
    return {
        **_frame(title, ink),
        "autosize": "pad",  # tiles keep their size, whatever stands around them
        "padding": {"top": 0, "left": 0, "right": 0, "bottom": 0},
        "width": GRID_WIDTH,
        "height": rows * side,
        "data": {"values": tiles},
        "params": [_click("tiles")],
        "layer": layers,
    }


def _frame(title: str, ink: str) -> Spec:
    return {
        "$schema": SCHEMA,
        "title": {"text": title, "anchor": "start", "fontSize": 16, "color": ink, "offset": 8},
        "background": "transparent",
        "config": {"view": {"strokeWidth": 0}, "font": FONT},
    }


def _values(frame: pd.DataFrame) -> Spec:
    return {"values": frame.to_dict("records")}


def _click(view: str) -> Spec:
    select = {"type": "point", "fields": ["filter"], "on": "click", "toggle": "event.shiftKey"}
    return {"name": CLICK, "select": select, "views": [view]}


def _is_in(selection: str) -> Spec:
    """Return the test for what is selected, which nothing is while the selection is empty."""
    return {"param": selection, "empty": False}


def _as_is(field: str, kind: str = "nominal") -> Spec:
    """Return an encoding whose values are drawn as they are, without a scale."""
    return {"field": field, "type": kind, "scale": None}


def _said(field: str, title: str) -> Spec:
    return {"field": field, "type": "nominal", "title": title}


def _shape(cluster: int) -> str:
    name = symbol(cluster)
    return _SHAPES.get(name, name)
