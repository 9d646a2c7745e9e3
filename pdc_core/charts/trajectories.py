"""Filters moving while a run pulls their clusters together: an animation with play, pause and a slider of steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pdc_core.charts.figure import blank
from pdc_core.charts.palette import GREY, colour, symbol

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST_FRAMES = 60
_MILLISECONDS = 90


def motion(
    points: NDArray[Any],
    labels: NDArray[np.int64],
    steps: NDArray[np.int64],
    group: str,
    share: float,
    animated: bool = True,
) -> go.Figure:
    """Draw the filters of one group at every recorded step, on fixed axes.

    Parameters
    ----------
    points : array of float, shape (f, n, 2)
        Positions.
    labels : array of int, shape (n,)
        Labels 0..k-1.
    steps : array of int, shape (f,)
        Ascending; of more than 60 frames, 60 are drawn.
    group : str
        Its name.
    share : float
        Part of the first step's variance that the two axes hold, 0 to 1.
    animated : bool, default True
        With play, pause and a slider; otherwise the positions after the last step.

    Returns
    -------
    plotly.graph_objects.Figure
        With one frame per step if animated.
    """
    import plotly.graph_objects as go

    shown = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MOST_FRAMES)).round().astype(int))
    n, k = points.shape[1], int(labels.max()) + 1
    low, high = points.min(axis=(0, 1)), points.max(axis=(0, 1))
    room = 0.08 * np.maximum(high - low, 1e-6)
    figure = blank(
        f"{group}: {n} filters move into {k} clusters",
        x=f"1st principal axis before training (both axes: {share:.0%} of the variance)",
        y="2nd principal axis before training",
        height=520,
        xaxis={"range": [low[0] - room[0], high[0] + room[0]], "showticklabels": False, "zeroline": False},
        yaxis={"range": [low[1] - room[1], high[1] + room[1]], "showticklabels": False, "zeroline": False},
        margin={"l": 10, "r": 10, "t": 40, "b": 110 if animated else 40},
        alt=f"Animation of {n} filters over {int(steps[-1])} steps; the filters of a cluster end in one point.",
    )
    marker = {
        "size": 14 if n <= 64 else 9,
        "color": [colour(int(c)) for c in labels],
        "symbol": [symbol(int(c)) for c in labels],
        "line": {"width": 1, "color": "rgba(255,255,255,0.7)"},
    }
    ghosts = {"size": 8, "color": GREY, "opacity": 0.7, "symbol": "circle-open", "line": {"width": 1.5}}
    figure.add_trace(
        go.Scatter(
            x=points[0, :, 0], y=points[0, :, 1], mode="markers", marker=ghosts, hoverinfo="skip", showlegend=False
        )
    )
    last = shown[-1]
    names_of_frames = [str(int(steps[f])) for f in shown]
    names = [f"filter {i}, cluster {c}" for i, c in enumerate(labels)]
    figure.add_trace(
        go.Scatter(
            x=points[last, :, 0], y=points[last, :, 1], mode="markers", marker=marker, hovertext=names,
            hoverinfo="text", showlegend=False, customdata=list(range(n)),
        )
    )  # fmt: skip
    if not animated:
        return figure
    figure.frames = [
        go.Frame(name=str(int(steps[f])), traces=[1], data=[go.Scatter(x=points[f, :, 0], y=points[f, :, 1])])
        for f in shown
    ]
    timing = {"frame": {"duration": _MILLISECONDS, "redraw": False}, "transition": {"duration": _MILLISECONDS}}
    now = {"mode": "immediate", "frame": {"duration": 0, "redraw": False}, "transition": {"duration": 0}}
    figure.update_layout(
        updatemenus=[
            {
                "type": "buttons", "direction": "left", "x": 0, "y": -0.16, "xanchor": "left", "yanchor": "top",
                "bgcolor": "#e8ecf0", "font": {"color": "#1c2126"},
                "buttons": [
                    {"label": "▶ Play", "method": "animate", "args": [None, {**timing, "fromcurrent": False}]},
                    {"label": "❚❚ Pause", "method": "animate", "args": [[None], now]},
                ],
            }
        ],
        sliders=[
            {
                "active": len(shown) - 1, "x": 0.24, "len": 0.76, "y": -0.12, "pad": {"t": 0},
                "currentvalue": {"prefix": "step ", "xanchor": "right"}, "ticklen": 0, "minorticklen": 0,
                "font": {"size": 1, "color": "rgba(0,0,0,0)"},
                "steps": [
                    {"label": name, "method": "animate", "args": [[name], now]} for name in names_of_frames
                ],
            }
        ],
    )  # fmt: skip
    figure.layout.sliders[0].currentvalue.font = {"size": 14, "color": GREY}
    return figure
