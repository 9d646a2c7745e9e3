"""Two networks' answers to one image, class by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pdc_core.charts.figure import blank
from pdc_core.charts.palette import BLUE

if TYPE_CHECKING:
    import plotly.graph_objects as go

_SHOWN, _NAMED = 10, 0.005  # classes, and the least probability that is written beside a bar
_BEFORE = "rgba(138,138,138,0.75)"


def answer_bars(classes: Sequence[str], before: NDArray[Any], folded: NDArray[Any]) -> go.Figure:
    """Draw the probabilities of two networks as paired bars, the likeliest class of either on top.

    Parameters
    ----------
    classes : sequence of str
        c names.
    before, folded : array of float, shape (c,)
        Probabilities, 0 to 1.

    Returns
    -------
    plotly.graph_objects.Figure
        Two bars for each of at most 10 classes.
    """
    import plotly.graph_objects as go

    order = np.argsort(-np.maximum(before, folded), kind="stable")[:_SHOWN]
    figure = blank(
        "Answers of both networks", x="probability [%]", y="", height=110 + 30 * max(4, len(order)), legend=True,
        xaxis={"range": [0, 103]}, yaxis={"autorange": "reversed", "showgrid": False, "type": "category"},
        barmode="group", bargap=0.25,
        alt=", ".join(f"{classes[i]}: {before[i]:.0%} original, {folded[i]:.0%} folded" for i in order[:3]) + ".",
    )  # fmt: skip
    for name, values, fill in (("original", before, _BEFORE), ("folded", folded, BLUE)):
        figure.add_trace(
            go.Bar(
                x=[100 * values[i] for i in order], y=[classes[i] for i in order], name=name, orientation="h",
                marker_color=fill, textposition="outside",
                text=[f"{100 * values[i]:.0f}" if values[i] >= _NAMED else "" for i in order],
                constraintext="none", textfont={"size": 11}, cliponaxis=False,
                hovertemplate="%{y}, " + name + ": %{x:.1f} %<extra></extra>",
            )
        )  # fmt: skip
    return figure
