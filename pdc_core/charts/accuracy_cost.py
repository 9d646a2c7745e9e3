"""Accuracy against cost of many runs: a marker for each run, a curve of means over seeds for each method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pdc_core.analysis.trade_offs import mean_over_seeds
from pdc_core.charts.cost_axes import (
    Axes,
    CurveStyle,
    fit_ranges_,
    run_markers,
    translucent,
    wilson_bars,
)
from pdc_core.charts.cost_levels import (
    draw_base,
    draw_before,
    draw_chosen,
    draw_front,
    draw_published,
    draw_reference,
    draw_stages,
)
from pdc_core.charts.figure import blank
from pdc_core.charts.methods import MethodLook, method_look, method_order

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

REFERENCE = "whole"  # the method that trains as long and prunes nothing; it has one cost, so it is drawn as a level
_DASHES = ("solid", "dash", "dot", "dashdot")
_LEGEND = {"orientation": "v", "x": 1.01, "xanchor": "left", "y": 1, "yref": "paper", "yanchor": "top"}


def accuracy_over_cost(
    points: pd.DataFrame,
    axes: Axes,
    title: str,
    *,
    chosen: str = "",
    stages: pd.DataFrame | None = None,
    bars: bool = False,
    front: bool = True,
    measured: pd.DataFrame | None = None,
    measured_name: str = "",
    published: pd.DataFrame | None = None,
) -> go.Figure:
    """Draw the test accuracy of runs against their cost, one marker for each run, coloured and marked by method.

    Runs that differ in their seeds alone are joined to a mean; the means of a method and its settings are joined to a
    curve in a band of one standard deviation. The uncompressed network is a level in the band of its Wilson interval,
    runs of the method "whole" are a second level. The legend stands beside the axes, and its length does not depend on
    the number of runs.

    Parameters
    ----------
    points : DataFrame
        One row per run of one network: `run`, `method`, `settings`, `plan`, `cost`, `accuracy` (0 to 1), `n_test` (may
        be missing), `before_cost`, `before_accuracy`, and `hover`, its text on hover.
    axes : Axes
        What is drawn.
    title : str
        Title of the figure.
    chosen : str, default ""
        The run that is ringed.
    stages : DataFrame, optional
        Columns `stage`, `cost`, `accuracy` of the chosen run, in order; joined by a thin line.
    bars : bool, default False
        Whether means, or single runs, have bars of the 95 % Wilson interval of their test images.
    front : bool, default True
        Whether the Pareto front of the means is drawn.
    measured : DataFrame, optional
        Points like `points`, measured by others; drawn hollow and dashed.
    measured_name : str, default ""
        Their origin, for the legend.
    published : DataFrame, optional
        Columns `method`, `cost`, `before_cost`, `accuracy` (0 to 1, or the change) and `hover` of published results;
        drawn hollow.

    Returns
    -------
    plotly.graph_objects.Figure
        `customdata` of a marker is the id of its run, or "".
    """
    figure = blank(
        title, x=f"{axes.cost} {axes.unit}", height=500, alt=_alt(points, published), legend=True, legend_below=True,
        y="change of test accuracy [points]" if axes.change else "test accuracy [%]",
    )  # fmt: skip
    others = points.iloc[:0] if measured is None else axes.drawn(measured)
    own = axes.drawn(points)
    if front and len(own):
        draw_front(figure, own, axes)
    draw_before(figure, own if len(own) else others, axes)
    _draw_methods(figure, others, axes, hollow=True, suffix=f"<br>({measured_name})")
    _draw_methods(figure, own, axes, bars=bars)
    if published is not None and len(published):
        if not len(own):
            draw_base(figure, published, axes)
        draw_published(figure, published)
    if stages is not None and len(stages):
        draw_stages(figure, stages, axes)
    draw_chosen(figure, own[own["run"] == chosen] if chosen else own.iloc[:0])
    fit_ranges_(figure, axes)
    figure.update_traces(unselected={"marker": {"opacity": 1}})  # a click would dim all other markers
    figure.update_layout(legend=_LEGEND)
    return figure


def _draw_methods(
    figure: go.Figure, points: pd.DataFrame, axes: Axes, *, hollow: bool = False, bars: bool = False, suffix: str = ""
) -> None:
    """Draw the curves of every method; under other settings a method has another dash."""
    means, every = mean_over_seeds(points), list(dict.fromkeys(points["settings"]))
    for method in method_order(points["method"]):
        named = False
        for i, settings in enumerate(every):
            runs, curve = (t[(t["method"] == method) & (t["settings"] == settings)] for t in (points, means))
            if not len(runs):
                continue
            dash = "dash" if hollow else _DASHES[i % len(_DASHES)]
            style = CurveStyle(method_look(method), dash, hollow, suffix, legend=not named)
            if method == REFERENCE:
                draw_reference(figure, runs, axes, style)
            else:
                _draw_curve(figure, runs, curve, axes, style, bars)
            named = True


def _draw_curve(
    figure: go.Figure, runs: pd.DataFrame, curve: pd.DataFrame, axes: Axes, style: CurveStyle, bars: bool
) -> None:
    """Draw the means of a method as a line in the band of their spread, and its runs as markers."""
    import plotly.graph_objects as go

    look, several = style.look, curve["runs"] > 1
    _draw_spread(figure, curve[several], style)
    for size, plans in ((12, curve.loc[~several, "plan"]), (6, curve.loc[several, "plan"])):
        part = runs[runs["plan"].isin(plans)]
        if len(part):
            lone = size == 12
            figure.add_trace(run_markers(part, axes, style, size, bars=bars and lone, legend=not several.any()))
    if len(curve) == 1 and not several.any():
        return
    figure.add_trace(
        go.Scatter(
            x=curve["cost"], y=100 * curve["accuracy"], mode="lines+markers", name=style.name, legendgroup=style.name,
            showlegend=style.legend and bool(several.any()), opacity=0.7 if style.hollow else 1.0,
            line={"color": look.colour, "width": 2.5, "dash": style.dash}, customdata=[""] * len(curve),
            marker={**style.marker, "size": [11 if each else 0 for each in several]},
            error_y=wilson_bars(curve["accuracy"], runs, axes, look.colour) if bars and several.all() else None,
            hovertext=[_mean_text(look, row, axes) for row in curve.itertuples()], hoverinfo="text",
        )
    )  # fmt: skip


def _draw_spread(figure: go.Figure, curve: pd.DataFrame, style: CurveStyle) -> None:
    """Draw the band of one standard deviation around means."""
    import plotly.graph_objects as go

    if len(curve) < 2:
        return
    low, high = (100 * (curve["accuracy"] + sign * curve["spread"]) for sign in (-1, 1))
    edge = {
        "x": curve["cost"], "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False,
        "legendgroup": style.name,
    }  # fmt: skip
    figure.add_trace(go.Scatter(y=low, **edge))
    figure.add_trace(go.Scatter(y=high, fill="tonexty", fillcolor=translucent(style.look.colour), **edge))


def _mean_text(look: MethodLook, row: Any, axes: Axes) -> str:
    spread = f" ± {100 * row.spread:.2f}" if row.runs > 1 else ""
    accuracy = axes.say(100 * row.accuracy)
    return f"{look.plain}, mean of {row.runs}: {accuracy}{spread}<br>{row.cost:.4g} {axes.cost} {axes.unit}"


def _alt(points: pd.DataFrame, published: pd.DataFrame | None) -> str:
    papers = "" if published is None or not len(published) else f" {len(published)} published results."
    if not len(points):
        return papers.strip() or "Nothing is left to draw."
    names = ", ".join(method_look(method).plain for method in method_order(points["method"]))
    best = 100 * float(points["accuracy"].max())
    return f"{len(points)} runs of the methods {names}; the best accuracy is {best:.2f} percent.{papers}"
