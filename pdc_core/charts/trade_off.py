"""Accuracy against cost of whole runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdc_core.charts.figure import blank
from pdc_core.charts.palette import colour, symbol

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


def trade_off(frame: pd.DataFrame) -> go.Figure:
    """Draw accuracy against MACs of each run, joined from before to after folding.

    Parameters
    ----------
    frame : DataFrame with columns `run` (name), `stage` ("before" or "folded"), `macs`, `accuracy` (0 to 1)
    """
    runs = list(dict.fromkeys(frame["run"]))
    figure = blank(
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
