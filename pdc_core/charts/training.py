"""The course of a run: loss, accuracy, strength and deviation over the epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pdc_core.charts.figure import blank, line
from pdc_core.charts.palette import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_ROUNDING = 1e-4  # a deviation far below is that of numbers, not of filters; it is drawn as 0


def loss_curves(frame: pd.DataFrame, epochs: int) -> go.Figure:
    """Draw the training loss and its parts, unweighted, over the epochs.

    Parameters
    ----------
    frame : DataFrame
        Columns `epoch` (float) and `loss`, and those in use of `ce`, `kd`, `matching` and `attention`.
    epochs : int
        Length of the run: fixes the axis, so that nothing moves while points arrive.

    Returns
    -------
    plotly.graph_objects.Figure
        One curve per part.
    """
    parts = (
        ("loss", "loss", BLUE, "solid"),
        ("ce", "labels (CE)", ORANGE, "dot"),
        ("kd", "teacher's logits (KD)", GREEN, "dash"),
        ("matching", "its blocks", PURPLE, "dashdot"),
        ("attention", "its attention", VERMILION, "longdash"),
    )
    title = "Training loss" if list(frame) == ["epoch", "loss"] else "Training loss and its parts"
    figure = _over_epochs(title, "loss [nats]", epochs)
    for column, name, shade, dash in parts:
        if column in frame and frame[column].notna().any():
            line(figure, frame["epoch"], frame[column], name, shade, dash)
    return figure


def accuracy_curve(frame: pd.DataFrame, epochs: int, teacher: float | None = None, alone: bool = False) -> go.Figure:
    """Draw the validation accuracy over the epochs, beside the teacher's.

    Parameters
    ----------
    frame : DataFrame
        Columns `epoch` and `val_accuracy` (0 to 1).
    epochs : int
        Length of the run.
    teacher : float, optional
        Validation accuracy of the uncompressed network, 0 to 1.
    alone : bool, default False
        Whether the network learns without a teacher, and is not called a student.

    Returns
    -------
    plotly.graph_objects.Figure
        One or two curves.
    """
    figure = _over_epochs("Validation accuracy after each epoch", "accuracy [%]", epochs)
    if teacher is not None:
        line(figure, [0, epochs], [100 * teacher] * 2, f"teacher, {100 * teacher:.1f} %", GREY, "dash")
    line(
        figure,
        frame["epoch"],
        100 * frame["val_accuracy"],
        "network" if alone else "student",
        BLUE,
        "solid",
        mode="lines+markers",
    )
    return figure


def tying_curves(frame: pd.DataFrame, epochs: int) -> go.Figure:
    """Draw the strength of the reconstruction and the deviation left inside the clusters over the epochs.

    Parameters
    ----------
    frame : DataFrame
        Columns `epoch`, `strength` (0 to 1) and `deviation` (0 or more).
    epochs : int
        Length of the run.

    Returns
    -------
    plotly.graph_objects.Figure
        Two curves.
    """
    figure = _over_epochs(
        "Clusters pulled together: strength rises to 1, deviation falls to 0",
        "share of its maximum",
        epochs,
        height=260,
        yaxis={"range": [-0.03, 1.05]},
    )
    line(figure, frame["epoch"], frame["strength"], "strength", VERMILION, "solid")
    if "deviation" in frame and len(frame):
        largest = max(float(frame["deviation"].max()), _ROUNDING)
        line(figure, frame["epoch"], frame["deviation"] / largest, "deviation inside clusters", PURPLE, "dot")
    return figure


def _over_epochs(title: str, y: str, epochs: int, height: int = 330, **layout: Any) -> go.Figure:
    return blank(
        title,
        x="epoch",
        y=y,
        height=height,
        alt=f"Curves over {epochs} epochs.",
        legend=True,
        xaxis={"range": [0, epochs]},
        **layout,
    )
