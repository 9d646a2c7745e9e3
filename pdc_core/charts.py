"""Figures of pages and notebooks: tidy data in, a plotly figure (or a picture of kernels) out.

Backgrounds are transparent and neutral colours readable on white and on black, so a figure survives dark
mode; clusters differ in colour (Okabe and Ito) and in marker symbol. `figure.layout.meta["alt"]` describes
it in words.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
GREY = "#8A8A8A"
# Okabe and Ito's black and yellow are left out: one vanishes on a dark page, the other on a white one.
COLOURS = (BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, GREY)
# Eight symbols against seven colours: 56 clusters before a pair repeats.
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "triangle-down")
LEGEND_LIMIT = 12
LABEL_LIMIT = 32
KERNEL_LIMIT = 64
_FIRST_ON_TOP = {"autorange": "reversed", "showgrid": False}
_NO_SCALE = {"showticklabels": False, "zeroline": False}


def colour(cluster: int) -> str:
    """Return the colour of a cluster, a CSS colour."""
    return COLOURS[cluster % len(COLOURS)]


def symbol(cluster: int) -> str:
    """Return the marker symbol of a cluster, a plotly symbol name."""
    return SYMBOLS[cluster % len(SYMBOLS)]


def short(value: float) -> str:
    """Write a large number with three digits.

    >>> short(40_551_040), short(269_434), short(336)
    ('40.6 M', '269 k', '336')
    """
    for bound, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * bound:
            scaled = value / bound
            return f"{scaled:.{max(0, 2 - int(np.log10(max(scaled, 1)) + 1e-9))}f} {letter}"
    return f"{value:,.0f}"


def rows_height(rows: int) -> int:
    """Return the height in pixels of a bar chart of so many layers; a table beside it looks best as tall."""
    return 110 + 21 * max(rows, 4)


def layer_bars(frame: pd.DataFrame, quantity: str, unit: str) -> go.Figure:
    """Draw what each layer costs as horizontal bars, first layer on top.

    Parameters
    ----------
    frame : DataFrame with columns `name` and `value`
    quantity, unit : str
        What `value` is, such as "MACs" counted "for one image".
    """
    import plotly.graph_objects as go

    total = int(frame["value"].sum())
    figure = _figure(
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
    frame : DataFrame with columns `name`, `before` and `after`
    quantity, unit : str
        As in `layer_bars`.
    """
    import plotly.graph_objects as go

    before, after = int(frame["before"].sum()), int(frame["after"].sum())
    figure = _figure(
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


def filter_map(frame: pd.DataFrame, title: str, axes: tuple[str, str], highlight: int | None = None) -> go.Figure:
    """Draw the filters of one group as points, coloured and shaped by cluster.

    Parameters
    ----------
    frame : DataFrame with columns `x`, `y`, `filter` (index) and `cluster` (label)
    title : str
    axes : pair of axis labels
    highlight : int, optional
        The one cluster to keep in colour; all others turn grey.
    """
    import plotly.graph_objects as go

    clusters = sorted(frame["cluster"].unique())
    named = len(clusters) <= LEGEND_LIMIT
    figure = _figure(
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


def loss_curves(frame: pd.DataFrame, epochs: int) -> go.Figure:
    """Draw the parts of the training loss over the epochs.

    Parameters
    ----------
    frame : DataFrame with columns `epoch` (float), `loss`, `ce` and `kd`
    epochs : int
        Length of the run: fixes the axis, so that nothing moves while points arrive.
    """
    parts = (
        ("loss", "loss", BLUE, "solid"),
        ("ce", "labels (CE)", ORANGE, "dot"),
        ("kd", "teacher (KD)", GREEN, "dash"),
    )
    figure = _over_epochs("Training loss and its two parts", "loss [nats]", epochs)
    for column, name, shade, dash in parts:
        if column in frame:
            _line(figure, frame["epoch"], frame[column], name, shade, dash)
    return figure


def accuracy_curve(frame: pd.DataFrame, epochs: int, teacher: float | None = None) -> go.Figure:
    """Draw the validation accuracy over the epochs, beside the teacher's.

    Parameters
    ----------
    frame : DataFrame with columns `epoch` and `val_accuracy` (0 to 1)
    epochs : int
    teacher : float, optional
        Validation accuracy of the uncompressed network, 0 to 1.
    """
    figure = _over_epochs("Validation accuracy after each epoch", "accuracy [%]", epochs)
    if teacher is not None:
        _line(figure, [0, epochs], [100 * teacher] * 2, f"teacher, {100 * teacher:.1f} %", GREY, "dash")
    _line(figure, frame["epoch"], 100 * frame["val_accuracy"], "student", BLUE, "solid", mode="lines+markers")
    return figure


def tying_curves(frame: pd.DataFrame, epochs: int) -> go.Figure:
    """Draw the strength of the reconstruction and the deviation left inside the clusters over the epochs.

    Parameters
    ----------
    frame : DataFrame with columns `epoch`, `strength` (0 to 1) and `deviation` (at least 0)
    epochs : int
    """
    figure = _over_epochs(
        "Clusters pulled together: strength rises to 1, deviation falls to 0",
        "share of its maximum",
        epochs,
        height=260,
        yaxis={"range": [-0.03, 1.05]},
    )
    _line(figure, frame["epoch"], frame["strength"], "strength", VERMILION, "solid")
    if "deviation" in frame and len(frame):
        largest = max(float(frame["deviation"].max()), 1e-12)
        _line(figure, frame["epoch"], frame["deviation"] / largest, "deviation inside clusters", PURPLE, "dot")
    return figure


def trade_off(frame: pd.DataFrame) -> go.Figure:
    """Draw accuracy against MACs of each run, joined from before to after folding.

    Parameters
    ----------
    frame : DataFrame with columns `run` (name), `stage` ("before" or "folded"), `macs`, `accuracy` (0 to 1)
    """
    runs = list(dict.fromkeys(frame["run"]))
    figure = _figure(
        "Test accuracy against MACs, before and after folding",
        x="MACs of one image [millions]",
        y="test accuracy [%]",
        height=440,
        legend=True,
        xaxis={"rangemode": "tozero"},
        alt=f"Accuracy against MACs of {len(runs)} runs, before and after folding.",
    )
    import plotly.graph_objects as go

    for i, run in enumerate(runs):
        points = frame[frame["run"] == run].sort_values("stage")  # "before" comes before "folded"
        figure.add_trace(
            go.Scatter(
                x=points["macs"] / 1e6,
                y=100 * points["accuracy"],
                name=run,
                mode="lines+markers",
                line={"color": colour(i), "width": 2},
                marker={
                    "size": 14,
                    "symbol": [symbol(i) + ("-open" if stage == "before" else "") for stage in points["stage"]],
                    "color": colour(i),
                    "line": {"width": 2, "color": colour(i)},
                },
                customdata=[f"{run}, {stage}" for stage in points["stage"]],
                hovertemplate="%{customdata}: %{y:.2f} %, %{x:.3f} million MACs<extra></extra>",
            )
        )
    return figure


def kernel_picture(
    filters: NDArray[Any], columns: int = 16, scale: int = 4, bound: float | None = None
) -> NDArray[np.uint8]:
    """Draw filters as tiles: blue weights are negative, orange positive, white zero; one scale for all.

    Every filter is one tile, its input channels side by side in it, read row by row; of more than 64 input
    channels the 64 of largest norm are drawn.

    Parameters
    ----------
    filters : array (n, c, kh, kw) or (n, c)
        Weights of a convolution or of a linear layer.
    columns : int
        Tiles in a row of the picture, at least 1.
    scale : int
        Pixels of a weight, at least 1.
    bound : float, optional
        The |weight| of full colour; the largest of `filters` when not given. Pictures to compare share it.

    Returns
    -------
    uint8 array (height, width, 4)
        RGBA; the gaps between tiles are transparent.

    Examples
    --------
    >>> kernel_picture(np.zeros((2, 1, 3, 3)), columns=2, scale=1).shape
    (7, 14, 4)
    """
    weights = np.asarray(filters, dtype=np.float64)
    if weights.ndim == 2:
        weights = weights[:, :, None, None]
    n, c, kh, kw = weights.shape
    if c > KERNEL_LIMIT:
        largest = np.sort(np.argsort((weights**2).sum(axis=(0, 2, 3)))[-KERNEL_LIMIT:])
        weights, c = weights[:, largest], KERNEL_LIMIT
    bound = bound or float(np.abs(weights).max()) or 1.0
    across = int(np.ceil(np.sqrt(c)))
    down = int(np.ceil(c / across))
    seam = 1 if kh * kw > 1 else 0
    tile = np.full((n, down * (kh + seam) - seam, across * (kw + seam) - seam), np.nan)
    for j in range(c):
        top, left = (j // across) * (kh + seam), (j % across) * (kw + seam)
        tile[:, top : top + kh, left : left + kw] = np.clip(weights[:, j] / bound, -1, 1)
    tile = tile.repeat(scale, axis=1).repeat(scale, axis=2)
    gap = 4 * scale
    height, width = tile.shape[1] + gap, tile.shape[2] + gap
    columns = max(1, min(columns, n))
    rows = -(-n // columns)
    canvas = np.full((rows * height, columns * width), np.nan)
    for i in range(n):
        top, left = (i // columns) * height, (i % columns) * width
        canvas[top : top + tile.shape[1], left : left + tile.shape[2]] = tile[i]
    return _diverging(canvas)


def _diverging(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Map -1..1 to blue, white, orange; NaN to transparent."""
    ends = {-1: np.array([0, 90, 160.0]), 1: np.array([213, 94, 0.0])}
    white = np.array([246, 246, 246.0])
    blank = np.isnan(values)
    v = np.where(blank, 0.0, values)[..., None]
    rgb = white + np.abs(v) ** 0.7 * (np.where(v < 0, ends[-1], ends[1]) - white)
    alpha = np.where(blank, 0.0, 255.0)[..., None]
    return np.concatenate([rgb, alpha], axis=-1).round().astype(np.uint8)


def _figure(
    title: str,
    x: str,
    y: str,
    *,
    height: int,
    alt: str,
    legend: bool = False,
    xaxis: dict[str, Any] | None = None,
    yaxis: dict[str, Any] | None = None,
    **layout: Any,
) -> go.Figure:
    """Return an empty figure. The layout is given in one piece: plotly validates every later update anew."""
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
            "margin": {"l": 10, "r": 10, "t": 72 if legend else 40, "b": 10},
            "showlegend": legend,
            "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"},
            "hoverlabel": {"font": {"size": 14}},
            "uirevision": "keep",
            "xaxis": {**axis, "title": {"text": x, "font": {"size": 14}}, **(xaxis or {})},
            "yaxis": {**axis, "title": {"text": y, "font": {"size": 14}}, **(yaxis or {})},
            **layout,
        }
    )


def _over_epochs(title: str, y: str, epochs: int, height: int = 330, **layout: Any) -> go.Figure:
    return _figure(
        title,
        x="epoch",
        y=y,
        height=height,
        alt=f"Curves over {epochs} epochs.",
        legend=True,
        xaxis={"range": [0, epochs]},
        **layout,
    )


def _line(
    figure: go.Figure,
    x: Iterable[float],
    y: Iterable[float],
    name: str,
    shade: str,
    dash: str,
    mode: str = "lines",
) -> None:
    import plotly.graph_objects as go

    line = {"color": shade, "dash": dash, "width": 2.5}
    figure.add_trace(
        go.Scatter(
            x=list(x),
            y=list(y),
            name=name,
            mode=mode,
            line=line,
            marker={"size": 8},
            hovertemplate=name + " at epoch %{x:.2f}: %{y:.3f}<extra></extra>",
        )
    )


def _cluster_name(frame: pd.DataFrame, cluster: int) -> str:
    members = int((frame["cluster"] == cluster).sum())
    return f"{cluster}: {members} filter" + ("s" if members != 1 else "")
