"""What stands beside the curves of accuracy against cost: levels, the Pareto front, the chosen run, papers' results.

Tables are as `accuracy_over_cost` takes them, with accuracies as they are drawn; figures are changed in place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdc_core.analysis.trade_offs import front_of_means, mean_over_seeds
from pdc_core.charts.comparison import wilson_interval
from pdc_core.charts.cost_axes import FAINT, Axes, CurveStyle, run_markers, translucent
from pdc_core.charts.crowding import label_places
from pdc_core.charts.palette import BLUE, GREY

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


def draw_before(figure: go.Figure, points: pd.DataFrame, axes: Axes) -> None:
    """Draw the uncompressed network as a level, in the band of its test images where their number is known.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        The chart.
    points : DataFrame
        The runs; a level for each accuracy that they started from.
    axes : Axes
        What is drawn.
    """
    for accuracy, runs in points.groupby("before_accuracy", sort=False):
        p, end = float(accuracy), float(runs["before_cost"].max())
        level, n_test = 0.0 if axes.change else p, runs["n_test"].dropna()
        if len(n_test):
            lower, upper = (float(bound) - p + level for bound in wilson_interval(p, int(n_test.iloc[0])))
            _draw_band(figure, end, lower, upper, GREY)
        _draw_level(figure, end, level, f"uncompressed:<br>{100 * p:.2f} %", GREY, "dot")
        _draw_mark(figure, end, level, f"uncompressed network: {100 * p:.2f} %")


def draw_base(figure: go.Figure, published: pd.DataFrame, axes: Axes) -> None:
    """Draw where the uncompressed networks of papers are: the accuracies that they started from, or a change of 0.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        The chart.
    published : DataFrame
        Columns `before_cost` and `base_accuracy` (0 to 1; may be missing).
    axes : Axes
        What is drawn.
    """
    import plotly.graph_objects as go

    end, bases = (
        float(published["before_cost"].max()),
        published.dropna(subset=["base_accuracy"]).drop_duplicates("base_accuracy"),
    )
    if axes.change:
        _draw_level(figure, end, 0.0, "uncompressed, each<br>paper's own", GREY, "dot")
    figure.add_trace(
        go.Scatter(
            x=[end] * (1 if axes.change else len(bases)), y=[0.0] if axes.change else 100 * bases["base_accuracy"],
            mode="markers", name="uncompressed", showlegend=not axes.change, hoverinfo="y+name",
            marker={"size": 10, "symbol": "circle-open", "color": GREY, "line": {"width": 2, "color": GREY}},
        )
    )  # fmt: skip


def draw_reference(figure: go.Figure, runs: pd.DataFrame, axes: Axes, style: CurveStyle) -> None:
    """Draw runs that trained as long without pruning as a level, in the band of one standard deviation.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        The chart.
    runs : DataFrame
        The runs, which differ in their seeds alone.
    axes : Axes
        What is drawn.
    style : CurveStyle
        How.
    """
    mean, end = float(runs["accuracy"].mean()), float(runs["cost"].max())
    if len(runs) > 1:
        spread = float(runs["accuracy"].std())
        _draw_band(figure, end, mean - spread, mean + spread, style.look.colour)
    name = f"{style.look.name}:<br>{axes.say(100 * mean)}{style.suffix}"
    _draw_level(figure, end, mean, name, style.look.colour, "dash", group=style.name, legend=style.legend)
    figure.add_trace(run_markers(runs, axes, style, size=9))


def draw_front(figure: go.Figure, points: pd.DataFrame, axes: Axes) -> None:
    """Draw the Pareto front of means over seeds, in which the uncompressed network competes too.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        The chart.
    points : DataFrame
        The runs.
    axes : Axes
        What is drawn.
    """
    import plotly.graph_objects as go

    first = points.iloc[0]
    before = float(first["before_cost"]), 0.0 if axes.change else float(first["before_accuracy"])
    front = front_of_means(mean_over_seeds(points), before)
    figure.add_trace(
        go.Scatter(
            x=front["cost"], y=100 * front["accuracy"], name="Pareto front", mode="lines", hoverinfo="skip",
            line={"color": GREY, "width": 6, "shape": "hv"}, opacity=0.45,
        )
    )  # fmt: skip


def draw_published(figure: go.Figure, published: pd.DataFrame) -> None:
    """Draw published results as hollow markers with their names.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        The chart.
    published : DataFrame
        Columns `method`, `cost`, `accuracy` and `hover`.
    """
    import plotly.graph_objects as go

    ours = (published["method"] == "PDC").to_numpy()
    shades = [BLUE if each else GREY for each in ours]
    figure.add_trace(
        go.Scatter(
            x=published["cost"], y=100 * published["accuracy"], mode="markers+text", name="published", hoverinfo="text",
            text=published["method"], textposition=label_places(published["cost"], published["accuracy"]),
            textfont={"size": 12}, customdata=[""] * len(published), hovertext=list(published["hover"]),
            marker={
                "size": [15 if each else 10 for each in ours], "color": shades, "line": {"width": 2, "color": shades},
                "symbol": ["star-open" if each else "hexagon-open" for each in ours],
            },
        )
    )  # fmt: skip


def draw_stages(figure: go.Figure, stages: pd.DataFrame, axes: Axes) -> None:
    """Draw the networks of a run, joined by a thin line.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        The chart.
    stages : DataFrame
        Columns `stage` ("before", "reconstructed", "folded"), `cost` and `accuracy` (0 to 1, never a change).
    axes : Axes
        What is drawn.
    """
    import plotly.graph_objects as go

    accuracy = 100 * (stages["accuracy"] - (stages["accuracy"].iloc[0] if axes.change else 0.0))
    marks = {"before": "circle-open", "reconstructed": "circle-open-dot", "folded": "circle"}
    figure.add_trace(
        go.Scatter(
            x=stages["cost"], y=accuracy, mode="lines+markers+text", name="stages of the run", hoverinfo="text",
            text=list(stages["stage"]), textposition=["top center", "bottom center", "bottom center"][: len(stages)],
            textfont={"size": 12}, line={"color": GREY, "width": 1.5}, customdata=[""] * len(stages),
            marker={"size": 8, "color": GREY, "symbol": [marks.get(stage, "circle") for stage in stages["stage"]]},
            hovertext=[f"{stage}: {axes.say(value)}" for stage, value in zip(stages["stage"], accuracy, strict=True)],
        )
    )  # fmt: skip


def draw_chosen(figure: go.Figure, run: pd.DataFrame) -> None:
    """Ring the chosen run.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        The chart.
    run : DataFrame
        Its row, or none.
    """
    import plotly.graph_objects as go

    if len(run):
        figure.add_trace(
            go.Scatter(
                x=run["cost"], y=100 * run["accuracy"], mode="markers", name="chosen run", hoverinfo="text",
                hovertext=list(run["hover"]), customdata=list(run["run"]),
                marker={"size": 20, "symbol": "circle-open", "color": GREY, "line": {"width": 2.5, "color": GREY}},
            )
        )  # fmt: skip


def _draw_level(
    figure: go.Figure, end: float, level: float, name: str, shade: str, dash: str, group: str = "", legend: bool = True
) -> None:
    import plotly.graph_objects as go

    figure.add_trace(
        go.Scatter(
            x=[0, end], y=[100 * level] * 2, mode="lines", name=name, legendgroup=group or name, showlegend=legend,
            line={"color": shade, "width": 2.5, "dash": dash}, hovertext=name.replace("<br>", " "), hoverinfo="text",
            customdata=["", ""],
        )
    )  # fmt: skip


def _draw_mark(figure: go.Figure, end: float, level: float, text: str) -> None:
    import plotly.graph_objects as go

    figure.add_trace(
        go.Scatter(
            x=[end], y=[100 * level], mode="markers", hovertext=text, hoverinfo="text", showlegend=False,
            customdata=[""],
            marker={"size": 13, "symbol": "circle-open", "color": GREY, "line": {"width": 2, "color": GREY}},
        )
    )  # fmt: skip


def _draw_band(figure: go.Figure, end: float, lower: float, upper: float, shade: str) -> None:
    import plotly.graph_objects as go

    low, high = 100 * lower, 100 * upper
    figure.add_trace(
        go.Scatter(
            x=[0, end, end, 0], y=[low, low, high, high], fill="toself", fillcolor=translucent(shade, FAINT / 1.6),
            mode="lines", line={"width": 0}, hoverinfo="skip", showlegend=False,
        )
    )  # fmt: skip
