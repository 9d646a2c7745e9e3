"""How many clusters? Inertia and silhouette of every k, and the tree that they come from, with the current cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pdc_core.charts.figure import blank
from pdc_core.charts.palette import BLUE, GREEN, GREY, VERMILION, colour

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_NARROW = 440  # pixels of the axis of a chart that takes half of a page on a screen of 1280
_CHARACTER, _APART = 8, 6  # pixels of a figure in a label, and between two labels
_UPRIGHT = 11  # pixels that a label takes when it is turned upright
_NAMED = 12  # filters of a leaf that are named on hover


def every_k(frame: pd.DataFrame, k: int, suggested: int | None = None, now: float | None = None) -> go.Figure:
    """Draw the spread lost and the silhouette for every number of clusters; a click chooses k.

    Parameters
    ----------
    frame : DataFrame
        Columns `k`, `lost` (0 to 1) and `silhouette` (-1 to 1, NaN where it is not defined).
    k : int
        Current number of clusters.
    suggested : int, optional
        A number to mark.
    now : float, optional
        Spread lost by the current clusters, 0 to 1, if they are not those of the tree.

    Returns
    -------
    plotly.graph_objects.Figure
        Points carry k as custom data.
    """
    import plotly.graph_objects as go

    n = int(frame["k"].max())
    at_k = frame[frame["k"] == k].iloc[0]
    figure = blank(
        f"Every number of clusters from 1 to {n}; now {k}",
        x="clusters kept k (click to choose)",
        y="[%] of the spread, silhouette × 100",
        height=380,
        legend=True,
        alt=f"At {k} clusters {at_k['lost']:.0%} of the spread is lost.",
        dragmode=False,
        xaxis={"range": [0.5, n + 0.5]},
    )
    for column, name, shade, shape in (
        ("lost", "spread lost", BLUE, "circle"),
        ("silhouette", "silhouette", GREEN, "diamond"),
    ):
        figure.add_trace(
            go.Scatter(
                x=frame["k"],
                y=100 * frame[column],
                name=name,
                mode="lines+markers",
                customdata=[int(each) for each in frame["k"]],
                line={"color": shade, "width": 2},
                marker={"size": 8 if n <= 64 else 4, "symbol": shape, "color": shade},
                hovertemplate="%{x} clusters, " + name + ": %{y:.1f}<extra></extra>",
                unselected={"marker": {"opacity": 1}},
            )
        )
    if now is not None:
        figure.add_trace(
            go.Scatter(
                x=[k],
                y=[100 * now],
                name="lost by the plan",
                mode="markers",
                marker={"size": 14, "symbol": "star", "color": VERMILION},
                hovertemplate="the plan's clusters: %{y:.1f} % lost<extra></extra>",
            )
        )
    figure.add_vline(x=k, line={"color": VERMILION, "width": 2})
    if suggested is not None and suggested != k:
        figure.add_vline(x=suggested, line={"color": GREY, "width": 2, "dash": "dash"})
    return figure


def tree_lines(joints: NDArray[np.float64], members: Sequence[NDArray[np.int64]], k: int) -> go.Figure:
    """Draw a dendrogram with its cut at k clusters; a click on a joint keeps its two clusters apart.

    Leaves are labelled where the labels fit without touching (upright from about 17, none from 41 leaves); on hover the
    foot of every line names its filters.

    Parameters
    ----------
    joints : array of float, shape (leaves-1, 6)
        As `clustering.dendrogram` returns them.
    members : sequence of array of int
        The filters of each leaf, as `clustering.dendrogram` returns them.
    k : int
        Current number of clusters, where the cut is drawn.

    Returns
    -------
    plotly.graph_objects.Figure
        Joints carry k as custom data.
    """
    import plotly.graph_objects as go

    leaves, heights = len(members), joints[:, 4] if len(joints) else np.zeros(1)
    n = sum(len(m) for m in members)
    below, above = _around_cut(joints, k, n)
    level = (below + above) / 2
    ticks = _leaf_labels(members)
    figure = blank(
        f"Which filters merge first: the tree, cut at {k} clusters",
        x=("filters" if leaves == n else f"groups of filters, the lowest {n - leaves} merges are not drawn")
        + ("" if ticks["showticklabels"] else " (point at the foot of a line for numbers)"),
        y="height of a merge",
        height=380,
        alt=f"{leaves} leaves; the cut is at a height of {level:.3g}.",
        dragmode=False,
        xaxis={
            **ticks,
            "showgrid": False,
            "range": [-0.7, leaves - 0.3],
        },
        yaxis={"rangemode": "tozero", "range": [0, 1.05 * float(heights.max() or 1)]},
    )
    lines: dict[str, tuple[list[float | None], list[float | None]]] = {"under": ([], []), "over": ([], [])}
    for left, right, low, high, top, _ in joints:
        xs, ys = lines["under" if top <= level else "over"]
        xs += [left, left, right, right, None]
        ys += [low, top, top, high, None]
    for (name, (xs, ys)), shade in zip(lines.items(), (colour(0), GREY), strict=True):
        figure.add_trace(go.Scatter(x=xs, y=ys, mode="lines", name=name, line={"color": shade}, hoverinfo="skip"))
    figure.add_trace(
        go.Scatter(
            x=(joints[:, 0] + joints[:, 1]) / 2,
            y=joints[:, 4],
            mode="markers",
            customdata=[int(each) for each in joints[:, 5]],
            marker={"size": 11, "color": [colour(0) if top <= level else GREY for top in joints[:, 4]]},
            hovertemplate="cut below this merge: %{customdata} clusters<extra></extra>",
            unselected={"marker": {"opacity": 1}},
        )
    )
    figure.add_trace(
        go.Scatter(
            x=list(range(leaves)),
            y=[0.0] * leaves,
            mode="markers",
            marker={"size": 5, "color": GREY},
            hovertext=[_named(m) for m in members],
            hovertemplate="%{hovertext}<extra></extra>",
            unselected={"marker": {"opacity": 1}},
        )
    )
    figure.add_hline(y=level, line={"color": VERMILION, "width": 2, "dash": "dash"})
    return figure


def _leaf_labels(members: Sequence[NDArray[np.int64]]) -> dict[str, Any]:
    """Return the ticks of the leaves: level, upright, or without labels, whatever fits."""
    texts = [str(m[0]) if len(m) == 1 else f"{len(m)}×" for m in members]
    longest = max(len(text) for text in texts)
    level = len(texts) * (_CHARACTER * longest + _APART) <= _NARROW
    return {
        "tickvals": list(range(len(texts))),
        "ticktext": texts,
        "tickangle": 0 if level else -90,
        "tickfont": {"size": 13 if level else 11},
        "showticklabels": level or len(texts) * _UPRIGHT <= _NARROW,
    }


def _named(filters: NDArray[np.int64]) -> str:
    """Name the filters of a leaf; of many, the first ones."""
    if len(filters) == 1:
        return f"filter {filters[0]}"
    more = f" and {len(filters) - _NAMED} more" if len(filters) > _NAMED else ""
    return f"{len(filters)} filters: {', '.join(map(str, filters[:_NAMED]))}{more}"


def _around_cut(joints: NDArray[np.float64], k: int, n: int) -> tuple[float, float]:
    """Return the heights of the last merge that a cut at k does and of the first that it does not do."""
    done, undone = joints[joints[:, 5] > k], joints[joints[:, 5] <= k]
    below = float(done[:, 4].max()) if len(done) else 0.0
    if len(undone):
        return below, float(undone[:, 4].min())
    return below, 1.04 * below
