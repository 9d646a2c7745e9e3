"""What the parts of the chart of accuracy against cost share: its axes, and how a run and a bar look."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pdc_core.charts.comparison import accuracy_range, wilson_interval
from pdc_core.charts.methods import MethodLook, method_look

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

FAINT = 0.16  # opacity of bands


@dataclass(frozen=True)
class Axes:
    """What the axes show.

    Attributes
    ----------
    cost : str
        The quantity, such as "MACs".
    unit : str
        Its unit, such as "of one image [millions]".
    change : bool, default False
        Whether accuracies are differences from the uncompressed network.
    """

    cost: str
    unit: str
    change: bool = False

    def say(self, accuracy: float) -> str:
        """Write an accuracy, or a change, for a label.

        Parameters
        ----------
        accuracy : float
            In percent, or in points.

        Examples
        --------
        >>> Axes("MACs", "").say(91.5), Axes("MACs", "", change=True).say(0.14)
        ('91.50 %', '+0.14 points')
        """
        return f"{accuracy:+.2f} points" if self.change else f"{accuracy:.2f} %"

    def drawn(self, points: pd.DataFrame) -> pd.DataFrame:
        """Return a table of runs with the accuracies that are drawn.

        Parameters
        ----------
        points : DataFrame
            Columns `accuracy` and `before_accuracy`, 0 to 1.
        """
        return points.assign(accuracy=points["accuracy"] - points["before_accuracy"]) if self.change else points


def priced(table: pd.DataFrame, cost: str, scale: float = 1.0) -> pd.DataFrame:
    """Return the runs whose cost is known, with the columns that `accuracy_over_cost` takes.

    Parameters
    ----------
    table : DataFrame
        One row per run, with the columns `runs.COLUMNS`.
    cost : str
        The column of the cost, such as "macs"; "before_macs" is that of the uncompressed network.
    scale : float, default 1.0
        What the cost is multiplied by.

    Returns
    -------
    DataFrame
        The rows with `cost`, `before_cost`, `accuracy` and `hover`.
    """
    import pandas as pd

    known = table.assign(
        cost=scale * pd.to_numeric(table[cost]),
        before_cost=scale * pd.to_numeric(table[f"before_{cost}"]),
        accuracy=table["test_accuracy"],
    ).dropna(subset=["cost", "before_cost"])
    return known.assign(hover=[_hover(row) for row in known.itertuples()])


def _hover(row: Any) -> str:
    """Describe a run in a few lines."""
    cut, points = 100 * (1 - row.macs / row.before_macs), 100 * (row.test_accuracy - row.before_accuracy)
    return (
        f"<b>{method_look(row.method).plain}</b>, {cut:.1f} % of the MACs cut<br>"
        f"{100 * row.test_accuracy:.2f} % ({points:+.2f} points)<br>seed {row.seed}, {row.epochs} epochs<br>{row.run}"
    )


@dataclass(frozen=True)
class CurveStyle:
    """How the curve of a method under one choice of settings is drawn.

    Attributes
    ----------
    look : MethodLook
        The method's.
    dash : str
        A dash of plotly's.
    hollow : bool
        Whether the runs are not one's own.
    suffix : str
        Added to the method's name.
    legend : bool
        Whether the legend names it.
    """

    look: MethodLook
    dash: str
    hollow: bool
    suffix: str
    legend: bool

    @property
    def name(self) -> str:
        """Its name in the legend; a click there hides everything of that name."""
        return self.look.name + self.suffix

    @property
    def marker(self) -> dict[str, Any]:
        """Its marker, without a size."""
        shade, symbol = self.look.colour, self.look.symbol + ("-open" if self.hollow else "")
        return {"color": shade, "symbol": symbol, "line": {"width": 1.5, "color": shade}}


def run_markers(
    runs: pd.DataFrame, axes: Axes, style: CurveStyle, size: int, bars: bool = False, legend: bool = False
) -> go.Scatter:
    """Return one marker for each run, whose `customdata` is the run's id, or "" if it is not one's own.

    Parameters
    ----------
    runs : DataFrame
        Columns `run`, `cost`, `accuracy` as it is drawn, `before_accuracy`, `n_test` and `hover`.
    axes : Axes
        What is drawn.
    style : CurveStyle
        How.
    size : int
        Pixels.
    bars : bool, default False
        Whether each has a bar of the 95 % Wilson interval.
    legend : bool, default False
        Whether the legend names them, if the style has a name there.
    """
    import plotly.graph_objects as go

    return go.Scatter(
        x=runs["cost"], y=100 * runs["accuracy"], name=style.name, mode="markers", legendgroup=style.name,
        showlegend=style.legend and legend, marker={**style.marker, "size": size}, opacity=1.0 if size > 8 else 0.6,
        error_y=wilson_bars(runs["accuracy"], runs, axes, style.look.colour) if bars else None,
        customdata=[""] * len(runs) if style.hollow else list(runs["run"]),
        hovertext=list(runs["hover"]), hoverinfo="text",
    )  # fmt: skip


def wilson_bars(accuracy: pd.Series, runs: pd.DataFrame, axes: Axes, shade: str) -> dict[str, Any] | None:
    """Return bars of the 95 % Wilson interval of the test images, or None where their number is not known.

    Parameters
    ----------
    accuracy : Series of float
        Of runs or of their means, 0 to 1 or differences, as they are drawn.
    runs : DataFrame
        The runs; those of one network have one test set. Columns `n_test` and `before_accuracy`.
    axes : Axes
        What is drawn.
    shade : str
        A CSS colour.

    Returns
    -------
    dict or None
        Error bars of plotly's, in percent.
    """
    n_test = runs["n_test"].dropna()
    if not len(n_test):
        return None
    shift = float(runs["before_accuracy"].iloc[0]) if axes.change else 0.0
    p = np.clip(accuracy.to_numpy(dtype=np.float64) + shift, 0, 1)
    lower, upper = wilson_interval(p, int(n_test.iloc[0]))
    return {
        "type": "data", "symmetric": False, "array": 100 * (upper - p), "arrayminus": 100 * (p - lower),
        "thickness": 1.5, "width": 5, "color": shade,
    }  # fmt: skip


def fit_ranges_(figure: go.Figure, axes: Axes) -> None:
    """Set both axes so that they hold all that is drawn: costs from 0, accuracies over two points at least.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        Changed in place.
    axes : Axes
        What is drawn.
    """
    costs = _values(trace.x for trace in figure.data)
    low = _values(_end(trace, "arrayminus", -1) for trace in figure.data)
    high = _values(_end(trace, "array", 1) for trace in figure.data)
    if not len(costs):
        return
    bounds = accuracy_range(low, high)
    if axes.change:
        margin = max(0.06 * (high.max() - low.min()), (2 - high.max() + low.min()) / 2)
        bounds = [low.min() - margin, high.max() + margin]
    figure.update_layout(xaxis_range=[0.0, 1.05 * float(costs.max())], yaxis_range=bounds)


def _end(trace: go.Scatter, bars: str, sign: int) -> np.ndarray:
    """Return the values of a trace, or the ends of its bars."""
    y, reach = np.asarray(trace.y, dtype=np.float64), getattr(trace.error_y, bars)
    return y if reach is None else y + sign * np.asarray(reach, dtype=np.float64)


def _values(parts: Iterable[Any]) -> np.ndarray:
    found = [np.asarray(part, dtype=np.float64) for part in parts]
    return np.concatenate(found) if found else np.zeros(0)


def translucent(shade: str, opacity: float = FAINT) -> str:
    """Return a colour that lets what is below it shine through.

    Parameters
    ----------
    shade : str
        Red, green and blue as "#rrggbb".
    opacity : float, default 0.16
        0 to 1.

    Examples
    --------
    >>> translucent("#0072B2", 0.5)
    'rgba(0,114,178,0.5)'
    """
    red, green, blue = (int(shade[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"
