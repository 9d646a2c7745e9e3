"""Runs side by side: their costs and accuracies, class by class, and their measured speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pdc_core.analysis.metrics import pareto_front
from pdc_core.charts.figure import blank
from pdc_core.charts.palette import BLUE, GREY, ORANGE, VERMILION, colour, signed_scale, symbol

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_CLASSES_DRAWN = 100
Z95 = 1.959963984540054  # 95 % of a normal distribution lies within this many standard deviations
_LEAST_SPAN = 2.0  # points of accuracy
_LEVEL = 40  # characters of all names, two of space with each, that fit side by side under half a page


def wilson_interval(accuracy: ArrayLike, n: int, z: float = Z95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the Wilson interval (1927) of an accuracy measured on n images.

    With p the accuracy measured, the bounds are (p + z²/2n ± z sqrt(p (1 - p) / n + z²/4n²)) / (1 + z²/n). Unlike
    p ± z sqrt(p (1 - p) / n) they stay between 0 and 1 and have a width where p is 0 or 1.

    Parameters
    ----------
    accuracy : array of float, any shape
        Shares of right answers p, 0 to 1.
    n : int
        Number of images, at least 1.
    z : float, default 1.96
        Quantile of the normal distribution, above 0; the default gives 95 %.

    Returns
    -------
    lower, upper : array of float64, shape of `accuracy`
        0 to 1.

    Examples
    --------
    >>> [round(float(bound), 4) for bound in wilson_interval(0.5, 4)]
    [0.15, 0.85]
    """
    p = np.asarray(accuracy, dtype=np.float64)
    middle = p + z**2 / (2 * n)
    reach = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    lower, upper = ((middle + sign * reach) / (1 + z**2 / n) for sign in (-1, 1))
    return np.clip(lower, 0, p), np.clip(upper, p, 1)


def accuracy_caption(n_test: int) -> str:
    """Explain the bars of `accuracy_against`, and how many points one test image is.

    Parameters
    ----------
    n_test : int
        Number of test images, at least 1.

    Returns
    -------
    str
        One sentence.

    Examples
    --------
    >>> accuracy_caption(360)
    'Bars are 95 % Wilson intervals for 360 test images; one image is 0.28 points.'
    """
    return f"Bars are 95 % Wilson intervals for {n_test:,} test images; one image is {100 / n_test:.2g} points."


def accuracy_against(
    frame: pd.DataFrame, quantity: str, unit: str, chosen: str | None = None, n_test: int | None = None
) -> go.Figure:
    """Draw test accuracy against a cost for every run, joined from before over reconstructed to folded, and the front.

    The accuracy axis spans two points at least.

    Parameters
    ----------
    frame : DataFrame
        Columns `run` (name), `stage` ("before", "reconstructed", "folded"), `cost` and `accuracy` (0 to 1), one row
        per stage in that order.
    quantity : str
        The name of `cost`, such as "MACs".
    unit : str
        Its unit, such as "of one image [millions]".
    chosen : str, optional
        Name of the run to draw in full colour; by default all are.
    n_test : int, optional
        Number of test images, at least 1: every point gets its 95 % Wilson interval. By default there are no bars.

    Returns
    -------
    plotly.graph_objects.Figure
        One curve per run, and the Pareto front.
    """
    import plotly.graph_objects as go

    runs = list(dict.fromkeys(frame["run"]))
    front = frame[pareto_front(frame["cost"], frame["accuracy"])].sort_values("cost")
    accuracy = frame["accuracy"].to_numpy(dtype=np.float64)
    lower, upper = (accuracy, accuracy) if n_test is None else wilson_interval(accuracy, n_test)
    figure = blank(
        f"Test accuracy against {quantity}: before, reconstructed, folded",
        x=f"{quantity} {unit}", y="test accuracy [%]", height=460, legend=True, xaxis={"rangemode": "tozero"},
        yaxis={"range": accuracy_range(100 * lower, 100 * upper)}, legend_below=True,
        alt=f"{len(runs)} runs; {len(front)} points are on the Pareto front, the best is "
        f"{100 * float(frame['accuracy'].max()):.2f} percent." + (f" {accuracy_caption(n_test)}" if n_test else ""),
    )  # fmt: skip
    figure.add_trace(
        go.Scatter(
            x=front["cost"], y=100 * front["accuracy"], name="Pareto front", mode="lines", hoverinfo="skip",
            line={"color": GREY, "width": 2, "dash": "dot", "shape": "hv"},
        )
    )  # fmt: skip
    marks = {"before": "-open", "reconstructed": "-open-dot", "folded": ""}
    for i, run in enumerate(runs):
        own = (frame["run"] == run).to_numpy()
        points = frame[own]
        faded = chosen is not None and run != chosen
        figure.add_trace(
            go.Scatter(
                x=points["cost"], y=100 * points["accuracy"], name=run, mode="lines+markers",
                opacity=0.45 if faded else 1.0, line={"color": colour(i), "width": 2},
                marker={
                    "size": 11 if faded else 15, "color": colour(i), "line": {"width": 2, "color": colour(i)},
                    "symbol": [symbol(i) + marks[stage] for stage in points["stage"]],
                },
                error_y={
                    "type": "data", "symmetric": False, "array": 100 * (upper - accuracy)[own],
                    "arrayminus": 100 * (accuracy - lower)[own], "thickness": 1.5, "width": 5, "color": colour(i),
                    "visible": n_test is not None,
                },
                customdata=[f"{run}, {stage}" for stage in points["stage"]],
                hovertemplate="%{customdata}: %{y:.2f} %, %{x:.4g} " + f"{quantity} {unit}<extra></extra>",
            )
        )  # fmt: skip
    return figure


def accuracy_range(lower: NDArray[np.float64], upper: NDArray[np.float64]) -> list[float]:
    """Return an axis of accuracies that holds all bars with a margin, and spans two points at least.

    Parameters
    ----------
    lower, upper : array of float, shape (n,)
        Ends of the bars in percent; n may be 0.

    Returns
    -------
    list of float
        The lowest and the highest value, at most little beyond 0 and 100.
    """
    low, high = (float(lower.min()), float(upper.max())) if len(lower) else (0.0, 100.0)
    span = max(_LEAST_SPAN, 1.12 * (high - low))
    top = min((low + high + span) / 2, 100 + 0.06 * span)
    bottom = max(top - span, -0.06 * span)
    return [bottom, bottom + span]


def class_changes(classes: Sequence[str], before: NDArray[Any], after: NDArray[Any]) -> go.Figure:
    """Draw how much the accuracy of every class changed, the largest loss on top.

    Parameters
    ----------
    classes : sequence of str
        c names.
    before, after : array of float, shape (c,)
        Accuracies, 0 to 1; NaN for a class without examples.

    Returns
    -------
    plotly.graph_objects.Figure
        At most 100 bars.
    """
    import plotly.graph_objects as go

    change = 100 * (np.asarray(after) - np.asarray(before))
    order = [i for i in np.argsort(change, kind="stable") if np.isfinite(change[i])][:_CLASSES_DRAWN]
    figure = blank(
        "Accuracy of each class: folded minus before", x="change [percentage points]", y="",
        height=120 + 24 * max(4, len(order)),
        yaxis={"autorange": "reversed", "showgrid": False, "type": "category"},
        alt=f"{sum(change[i] < 0 for i in order)} of {len(order)} classes lose accuracy, "
        f"{sum(change[i] > 0 for i in order)} gain.",
    )  # fmt: skip
    figure.add_trace(
        go.Bar(
            x=[change[i] for i in order], y=[classes[i] for i in order], orientation="h",
            marker_color=[VERMILION if change[i] < 0 else BLUE for i in order],
            customdata=[[100 * before[i], 100 * after[i]] for i in order],
            hovertemplate="%{y}: %{customdata[0]:.1f} % before, %{customdata[1]:.1f} % folded<extra></extra>",
        )
    )  # fmt: skip
    return figure


def confusion_change(classes: Sequence[str], before: NDArray[Any], after: NDArray[Any]) -> go.Figure:
    """Draw which confusions the folded network makes more often (orange) or less often (blue), in signed colours.

    Parameters
    ----------
    classes : sequence of str
        c names.
    before, after : array of int, shape (c, c)
        Confusion counts, rows are the truth.

    Returns
    -------
    plotly.graph_objects.Figure
        A heat map, and over it invisible markers to click: `customdata` of a cell with images is c times its true
        class plus its named class.
    """
    import plotly.graph_objects as go

    change = (np.asarray(after) - np.asarray(before)).astype(float)
    np.fill_diagonal(change, 0)  # right answers are the chart of classes
    bound = max(1.0, float(np.abs(change).max()))
    more, less = int(change[change > 0].sum()), int(-change[change < 0].sum())
    edges = [-0.5, len(classes) - 0.5]
    long = sum(len(name) + 2 for name in classes) > _LEVEL
    figure = blank(
        f"Confusions: {more} more, {less} fewer than before", x="named class", y="true class",
        height=max(380, min(760, 120 + 24 * len(classes))),
        yaxis={"range": edges[::-1], "showgrid": False, "type": "category"},
        xaxis={"range": edges, "showgrid": False, "type": "category", "tickangle": -60 if long else 0},
        alt=f"A grid of {len(classes)} true by {len(classes)} named classes.",
    )  # fmt: skip
    figure.add_trace(
        go.Heatmap(
            x=list(classes), y=list(classes), z=change, zmin=-bound, zmax=bound, xgap=1, ygap=1,
            colorscale=signed_scale(), colorbar={"title": {"text": "images"}},
            hoverinfo="skip",
        )
    )  # fmt: skip
    cells = [(i, j) for i, j in np.argwhere(np.asarray(before) + np.asarray(after) > 0).tolist() if i != j]
    counts = [[int(before[i][j]), int(after[i][j])] for i, j in cells]
    side = max(4.0, 300 / max(1, len(classes)))
    unmarked = {"marker": {"opacity": 0}}
    figure.add_trace(
        go.Scatter(
            x=[classes[j] for _, j in cells], y=[classes[i] for i, _ in cells], mode="markers", showlegend=False,
            marker={"symbol": "square", "size": side, "opacity": 0}, selected=unmarked, unselected=unmarked,
            customdata=[len(classes) * i + j for i, j in cells], text=[f"{a} before, {b} folded" for a, b in counts],
            hovertemplate="%{y} called %{x}: %{text}. Click for its images.<extra></extra>",
        )
    )  # fmt: skip
    return figure


def speed_up(latencies: Mapping[int, tuple[float, float]], macs_ratio: float) -> go.Figure:
    """Draw how many times faster the folded network is at each batch size, beside how many times fewer MACs it has.

    Parameters
    ----------
    latencies : mapping of int to (float, float)
        Seconds before and after folding, by batch size.
    macs_ratio : float
        MACs before / MACs after folding.

    Returns
    -------
    plotly.graph_objects.Figure
        One bar per batch size.
    """
    import plotly.graph_objects as go

    names = [f"{batch} image{'s' if batch > 1 else ''}" for batch in latencies]
    gains = [before / max(after, 1e-12) for before, after in latencies.values()]
    figure = blank(
        f"Real speed-up beside {macs_ratio:.1f} times fewer MACs", x="images in a batch", y="times faster than before",
        height=360, legend=True, yaxis={"rangemode": "tozero"}, xaxis={"type": "category", "showgrid": False},
        alt=", ".join(f"{name}: {gain:.2f} times faster" for name, gain in zip(names, gains, strict=True)) + ".",
    )  # fmt: skip
    figure.add_trace(
        go.Bar(
            x=names, y=gains, name="measured", marker_color=BLUE, width=0.5,
            text=[f"{gain:.2f}×" for gain in gains], textposition="outside", cliponaxis=False,
            customdata=[[1000 * b, 1000 * a] for b, a in latencies.values()],
            hovertemplate="%{x}: %{customdata[0]:.2f} ms before, %{customdata[1]:.2f} ms folded<extra></extra>",
        )
    )  # fmt: skip
    figure.add_trace(
        go.Scatter(
            x=names, y=[macs_ratio] * len(names), name=f"MACs cut, {macs_ratio:.2f}×", mode="lines",
            line={"color": ORANGE, "width": 3, "dash": "dash"}, hoverinfo="skip",
        )
    )  # fmt: skip
    figure.update_layout(yaxis_range=[0, 1.2 * max(*gains, macs_ratio)])
    return figure
