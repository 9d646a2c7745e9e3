"""Colours, marker symbols and numbers in words: what every figure shares, and no figure yet.

Okabe and Ito's colours and plotly's symbols tell clusters apart without relying on colour alone.
"""

from __future__ import annotations

import numpy as np

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
GREY = "#8A8A8A"
# Okabe and Ito's black and yellow are left out: one vanishes on a dark page, the other on a white one.
COLOURS = (BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, GREY)
# Eight symbols against seven colours: 56 clusters before a pair repeats.
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "triangle-down")


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
