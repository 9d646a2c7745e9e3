"""Pictures whose numbers explain themselves: where a pixel comes from, and how two kernels become one.

A `Pointed` holds, for each cell that can be pointed at, what is outlined and what is said. A page shows it under the
pointer; in a notebook it is the picture alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pdc_core.charts.drawing import Drawing, panel
from pdc_core.charts.palette import SIGNED

_KERNEL, _GAP, _NAME = 108, 26, 26  # pixels: a kernel, between two, the line of a name
Cell = tuple[int, int, int]  # panel, row, column


@dataclass(frozen=True)
class Panel:
    """Where an array is drawn.

    Parameters
    ----------
    x, y : float
        Upper left corner.
    side : float
        Width and height.
    rows, columns : int
        Of the array.
    """

    x: float
    y: float
    side: float
    rows: int
    columns: int


@dataclass(frozen=True)
class Mark:
    """Cells that are outlined.

    Parameters
    ----------
    panel : int
        Number of the panel.
    row, column : int
        The upper left cell.
    rows, columns : int, default 1
        How many cells.
    """

    panel: int
    row: int
    column: int
    rows: int = 1
    columns: int = 1


@dataclass(frozen=True)
class Explained:
    """What belongs to a cell.

    Parameters
    ----------
    marks : tuple of Mark
        Outlines.
    lines : tuple of str
        What is said, the first line as a title.
    """

    marks: tuple[Mark, ...]
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Pointed:
    """A picture and what is said of its cells.

    Attributes
    ----------
    drawing : Drawing
        The picture.
    panels : tuple of Panel
        The arrays in it.
    cells : dict of (panel, row, column) to Explained
        Those that can be pointed at.
    start : tuple of int
        The cell that is explained first.
    """

    drawing: Drawing
    panels: tuple[Panel, ...]
    cells: dict[Cell, Explained]
    start: Cell

    def data(self) -> dict[str, Any]:
        """Return panels, cells and start as JSON values."""
        return {
            "panels": [[p.x, p.y, p.side, p.rows, p.columns] for p in self.panels],
            "cells": {
                ",".join(map(str, cell)): [
                    [[m.panel, m.row, m.column, m.rows, m.columns] for m in found.marks], list(found.lines)
                ]
                for cell, found in self.cells.items()
            },
            "start": ",".join(map(str, self.start)),
        }  # fmt: skip

    def _repr_html_(self) -> str:
        """Show the picture in a notebook."""
        return self.drawing.html


def convolution_cells(
    image: NDArray[Any], kernels: NDArray[Any], scales: Sequence[float], shifts: Sequence[float], v: Sequence[float]
) -> dict[Cell, Explained]:
    """Explain every pixel of the channels, and of the output, of 3x3 filters with a norm, ReLU and one reader.

    Parameters
    ----------
    image : array of float, shape (h, w)
        What the filters see; outside it is 0.
    kernels : array of float, shape (n, 3, 3)
        The filters.
    scales, shifts : sequence of float, length n
        The norm at inference: scale times the sum plus shift.
    v : sequence of float, length n
        The reader's weights.

    Returns
    -------
    dict of (panel, row, column) to Explained
        Panels are 0 the image, 1 to n the filters, n + 1 to 2 n the channels, 2 n + 1 the output.
    """
    n, (h, w) = len(kernels), image.shape
    padded, found = np.pad(image.astype(float), 1), {}
    for r, c in np.ndindex(h, w):
        window = padded[r : r + 3, c : c + 3]
        seen = Mark(0, max(r - 1, 0), max(c - 1, 0), min(r + 2, h) - max(r - 1, 0), min(c + 2, w) - max(c - 1, 0))
        activations = []
        for i, kernel in enumerate(kernels):
            total = float((window * kernel).sum())
            normed = scales[i] * total + shifts[i]
            activations.append(max(normed, 0.0))
            found[n + 1 + i, r, c] = Explained(
                (seen, Mark(1 + i, 0, 0, 3, 3), Mark(n + 1 + i, r, c)),
                (
                    f"Channel {i}, row {r}, column {c}: nine pixels times the nine weights of filter {i}",
                    *(_products(a, b) for a, b in zip(window, kernel, strict=True)),
                    f"sum = {_number(total)}; norm: {_products([scales[i]], [total])} + {_factor(shifts[i])} = "
                    f"{_number(normed)}; ReLU: {_number(activations[-1])}",
                ),
            )
        found[2 * n + 1, r, c] = Explained(
            (*(Mark(n + 1 + i, r, c) for i in range(n)), Mark(2 * n + 1, r, c)),
            (
                f"Output, row {r}, column {c}: the reader's weights times the {n} channels at this place",
                f"{_products(v, activations)} = {_number(float(np.dot(v, activations)))}",
            ),
        )
    return found


def added_columns(v: NDArray[Any], added: NDArray[Any], title: str) -> Pointed:
    """Draw the kernels of a layer that reads three channels, and those that remain when the first two are added up.

    Parameters
    ----------
    v : array of float, shape (outputs, 3, kh, kw)
        V, a row of kernels per output.
    added : array of float, shape (outputs, 2, kh, kw)
        V' = V M.
    title : str
        Title of the picture.

    Returns
    -------
    Pointed
        Pointing at a weight shows which two make which.
    """
    outputs, kh, kw = v.shape[0], *v.shape[2:]
    bound = float(max(np.abs(v).max(), np.abs(added).max())) or 1.0
    panels: list[Panel] = []
    parts, place = [], {}
    names = ["V, channel 0", "channel 1", "channel 2", "V', channels 0+1", "channel 2"]
    for o in range(outputs):
        for j, kernels in enumerate([*v[o], *added[o]]):
            x = j * (_KERNEL + _GAP) + (2 * _GAP if j >= v.shape[1] else 0)
            y = _NAME + o * (_KERNEL + _NAME)
            place[o, j] = len(panels)
            panels.append(Panel(x, y, _KERNEL, kh, kw))
            parts.append(panel(kernels, x, y, _KERNEL, names[j] if o == 0 else "", bound, digits=2))
    cells: dict[Cell, Explained] = {}
    for o, r, c in np.ndindex(outputs, kh, kw):
        first, second, other, both, kept = (Mark(place[o, j], r, c) for j in range(5))
        at = f"Output {o}, row {r}, column {c}"
        sum_ = f"{_number(v[o, 0, r, c])} + {_factor(v[o, 1, r, c])} = {_number(added[o, 0, r, c])}"
        merged = Explained((first, second, both), (f"{at}: channels 0 and 1 are equal, so their weights add up", sum_))
        alone = Explained(
            (other, kept), (f"{at}: channel 2 is alone in its cluster", f"{_number(v[o, 2, r, c])} stays")
        )
        for mark in (first, second, both):
            cells[mark.panel, r, c] = merged
        for mark in (other, kept):
            cells[mark.panel, r, c] = alone
    alt = f"The {3 * outputs} kernels of a layer with {outputs} outputs, and the {2 * outputs} that remain. "
    last = panels[-1]
    drawing = Drawing(
        title, f"{alt}Colours: {SIGNED}.", int(last.x + last.side), int(last.y + last.side) + 1, "".join(parts)
    )
    return Pointed(drawing, tuple(panels), cells, (place[0, 3], 0, 0))


def _products(a: Iterable[float], b: Iterable[float]) -> str:
    """Write a sum of products, such as 0.38 · (−1.00) + 0.94 · 1.00."""
    return " + ".join(f"{_factor(x)} · {_factor(y)}" for x, y in zip(a, b, strict=True))


def _factor(value: float) -> str:
    """Write a number in parentheses if it is negative, to stand behind a sign."""
    text = _number(value)
    return f"({text})" if text.startswith("\N{MINUS SIGN}") else text


def _number(value: float) -> str:
    text = f"{value:.2f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")
