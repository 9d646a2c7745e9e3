"""The pictures of the lesson: three filters and their outputs, and the errors of several ways to remove one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pdc_core.charts.drawing import Drawing, panel
from pdc_core.charts.figure import blank
from pdc_core.charts.palette import BLUE, GREEN, ORANGE, PURPLE, SIGNED, VERMILION
from pdc_core.charts.pointing import Panel, Pointed, convolution_cells

if TYPE_CHECKING:
    import plotly.graph_objects as go

_SIDE, _STEP, _NAME = 140, 176, 26  # pixels: a panel, the way to the next, the line of its name
_EXACT = 1e-9


def three_filters(
    image: NDArray[Any], kernels: NDArray[Any], channels: NDArray[Any], output: NDArray[Any], title: str
) -> Drawing:
    """Draw an image, the filters with their weights, the output of each, and the network's output, from left to right.

    Parameters
    ----------
    image, output : array of float, shape (h, w)
        Input and output of the network.
    kernels : array of float, shape (n, 3, 3)
        The filters.
    channels : array of float, shape (n, h, w)
        Their outputs.
    title : str
        Title of the picture.

    Returns
    -------
    Drawing
        The picture.
    """
    n, places = len(kernels), _places(image, kernels)
    weight, activation = float(np.abs(kernels).max()), float(channels.max()) or 1.0
    arrays = [image, *kernels, *channels, output]
    names = ["image x", *(f"filter {i}" for i in range(n)), *(f"channel {i}" for i in range(n)), "output y"]
    bounds = [float(image.max()), *[weight] * n, *[activation] * n, float(np.abs(output).max()) or 1.0]
    parts = [
        panel(array, at.x, at.y, at.side, name, bound, digits=2 if name.startswith("filter") else None)
        for array, at, name, bound in zip(arrays, places, names, bounds, strict=True)
    ]
    alt = f"An image, {n} filters of 3x3 weights above what each sees in it, and the output. Colours: {SIGNED}."
    last = places[-1]
    return Drawing(title, alt, int(last.x + last.side), 2 * (_SIDE + _NAME) + 1, "".join(parts))


def explained_filters(
    image: NDArray[Any],
    kernels: NDArray[Any],
    channels: NDArray[Any],
    output: NDArray[Any],
    title: str,
    *,
    scales: Sequence[float],
    shifts: Sequence[float],
    v: Sequence[float],
) -> Pointed:
    """Draw `three_filters` so that pointing at a pixel shows its window, products and sum.

    Parameters
    ----------
    image, kernels, channels, output, title : any
        Those of `three_filters`.
    scales, shifts : sequence of float, length n
        The norm of the filters at inference: scale times the sum plus shift.
    v : sequence of float, length n
        The reader's weights.

    Returns
    -------
    Pointed
        Every pixel of the channels and of the output is explained; first one in the middle of channel 0.
    """
    n, (h, w) = len(kernels), image.shape
    return Pointed(
        three_filters(image, kernels, channels, output, title),
        _places(image, kernels),
        convolution_cells(image, kernels, scales, shifts, v),
        (n + 1, h // 2, w // 2),
    )


def _places(image: NDArray[Any], kernels: NDArray[Any]) -> tuple[Panel, ...]:
    """Return where the image, the filters, their channels below them and the output are drawn."""
    n, (h, w) = len(kernels), image.shape
    below = _SIDE + 2 * _NAME
    middle = (below + 1 + _NAME) / 2
    above = [Panel((i + 1) * _STEP, _NAME, _SIDE, *kernels.shape[1:]) for i in range(n)]
    channels = [Panel((i + 1) * _STEP, below, _SIDE, h, w) for i in range(n)]
    return (Panel(0, middle, _SIDE, h, w), *above, *channels, Panel((n + 1) * _STEP, middle, _SIDE, h, w))


def pulling_curves(
    strengths: Sequence[float], distances: Sequence[float], changes: Sequence[float], now: float
) -> go.Figure:
    """Draw how far two filters' outputs are apart, and how far the network's output has moved, over the strength.

    Parameters
    ----------
    strengths : sequence of float
        Rising from 0 to 1.
    distances, changes : sequence of float
        Differences of the filters' outputs and of the network's output, one per strength.
    now : float
        The strength to mark.

    Returns
    -------
    plotly.graph_objects.Figure
        Two curves.
    """
    import plotly.graph_objects as go

    figure = blank(
        "The two filters meet; the output moves a little",
        x="strength s",
        y="largest difference of any pixel",
        height=300,
        legend=True,
        xaxis={"range": [-0.03, 1.03]},
        yaxis={"rangemode": "tozero"},
        alt=f"Filters 0 and 1 are {distances[0]:.2f} apart at strength 0 and equal at 1; the output moves by "
        f"{changes[-1]:.2f}. Strength {now:.2f} is marked.",
    )
    curves = (("filters 0 and 1, apart", distances, BLUE, "solid"), ("output, moved", changes, ORANGE, "dash"))
    for name, values, shade, dash in curves:
        figure.add_trace(
            go.Scatter(
                x=list(strengths),
                y=list(values),
                name=name,
                mode="lines",
                line={"color": shade, "dash": dash, "width": 3},
                hovertemplate=name + " at s = %{x:.2f}: %{y:.3f}<extra></extra>",
            )
        )
    figure.add_vline(x=now, line={"color": VERMILION, "width": 2, "dash": "dot"})
    return figure


def error_bars(errors: Mapping[str, float], title: str) -> go.Figure:
    """Draw one bar per error, with its number; errors that are zero up to rounding are written as 0 and coloured green.

    Parameters
    ----------
    errors : mapping of str to float
        The largest change of the output, by the way that filters were removed.
    title : str
        Title of the figure.

    Returns
    -------
    plotly.graph_objects.Figure
        One bar per error.
    """
    import plotly.graph_objects as go

    exact = [error < _EXACT for error in errors.values()]
    written = ["0 (exact)" if zero else f"{error:.3f}" for zero, error in zip(exact, errors.values(), strict=True)]
    figure = blank(
        title,
        x="largest change of any output pixel",
        y="",
        height=110 + 44 * len(errors),
        yaxis={"autorange": "reversed", "showgrid": False},
        xaxis={"range": [0, 1.25 * max(*errors.values(), _EXACT)]},
        alt=", ".join(f"{name}: {text}" for name, text in zip(errors, written, strict=True)) + ".",
    )
    figure.add_trace(
        go.Bar(
            x=list(errors.values()),
            y=list(errors),
            orientation="h",
            text=written,
            textposition="outside",
            marker_color=[GREEN if zero else VERMILION for zero in exact],
            cliponaxis=False,
            hovertemplate="%{y}: %{text}<extra></extra>",
        )
    )
    return figure


def sum_bars(rows: Mapping[str, Mapping[str, float]], title: str) -> go.Figure:
    """Draw sums as rows of pieces laid end to end; negative pieces extend to the left of 0.

    Parameters
    ----------
    rows : mapping of str to mapping of str to float
        Values of the pieces by their names, by the name of the sum.
    title : str
        Title of the figure.

    Returns
    -------
    plotly.graph_objects.Figure
        One row per sum.
    """
    import plotly.graph_objects as go

    totals = {name: sum(pieces.values()) for name, pieces in rows.items()}
    figure = blank(
        title,
        x="what each channel adds to the output pixel",
        y="",
        height=260,
        barmode="relative",
        yaxis={"autorange": "reversed", "showgrid": False},
        alt="; ".join(
            f"{name}: "
            + ", ".join(f"{piece} gives {value:.3f}" for piece, value in pieces.items())
            + f", together {totals[name]:.3f}"
            for name, pieces in rows.items()
        )
        + ".",
    )
    for i, (name, pieces) in enumerate(rows.items()):
        for j, (piece, value) in enumerate(pieces.items()):
            shade = (BLUE, ORANGE, PURPLE)[j % 3] if len(pieces) > 2 or j == 0 else PURPLE
            figure.add_trace(
                go.Bar(
                    x=[value],
                    y=[f"{name}: {totals[name]:.3f}"],
                    orientation="h",
                    marker_color=shade,
                    width=0.55,
                    text=f"{piece} = {value:.3f}",
                    textposition="inside",
                    insidetextanchor="middle",
                    textfont={"color": "#ffffff" if shade == BLUE else "#000000", "size": 14},
                    showlegend=False,
                    offsetgroup=str(i),
                    hovertemplate=f"{piece} = {value:.3f}<extra></extra>",
                )
            )
    return figure
