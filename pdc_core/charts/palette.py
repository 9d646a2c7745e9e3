"""Colours, marker symbols and numbers in words, which all figures share.

Okabe and Ito's colours and plotly's symbols tell clusters apart without relying on colour alone. Signed values are
blue below 0 and orange above in every picture: kernels, activation maps, the lesson, changes of a confusion matrix.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
GREY = "#8A8A8A"
# Okabe and Ito's black and yellow are left out: one vanishes on a dark page, the other on a white one.
COLOURS = (BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, GREY)
# Eight symbols against seven colours: 56 clusters before a pair repeats.
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "triangle-down")


def colour(cluster: int) -> str:
    """Return the colour of a cluster.

    Parameters
    ----------
    cluster : int
        Its label, 0 or more; colours repeat after seven.

    Returns
    -------
    str
        A CSS colour.
    """
    return COLOURS[cluster % len(COLOURS)]


def symbol(cluster: int) -> str:
    """Return the marker symbol of a cluster.

    Parameters
    ----------
    cluster : int
        Its label, 0 or more; symbols repeat after eight.

    Returns
    -------
    str
        The name of a symbol of plotly's.
    """
    return SYMBOLS[cluster % len(SYMBOLS)]


# What a caption says of signed colours; the only wording.
SIGNED = "blue is negative, orange positive, white zero"
_NEGATIVE, _ZERO, _POSITIVE = (np.array(rgb, dtype=np.float64) for rgb in ((0, 90, 160), (246, 246, 246), (213, 94, 0)))
_GAMMA = 0.7  # below 1, so that the many small weights of a layer can be told from zero


def signed_rgb(shares: ArrayLike) -> NDArray[np.uint8]:
    """Return the colours of signed values: blue below 0, orange above, nearly white at 0.

    Parameters
    ----------
    shares : array of float, any shape
        Values divided by the |value| of full colour; values outside -1..1 have full colour. No NaN.

    Returns
    -------
    array of uint8, shape (*shares.shape, 3)
        Red, green and blue, 0 to 255.

    Examples
    --------
    >>> signed_rgb([-1, 0, 2]).tolist()
    [[0, 90, 160], [246, 246, 246], [213, 94, 0]]
    """
    v = np.clip(np.asarray(shares, dtype=np.float64), -1, 1)[..., None]
    rgb = _ZERO + np.abs(v) ** _GAMMA * (np.where(v < 0, _NEGATIVE, _POSITIVE) - _ZERO)
    return rgb.round().astype(np.uint8)


def signed_colour(share: float) -> str:
    """Return the colour of one signed value in CSS, see `signed_rgb`.

    Parameters
    ----------
    share : float
        Value divided by the |value| of full colour.

    Returns
    -------
    str
        A CSS colour.

    Examples
    --------
    >>> signed_colour(-1), signed_colour(0), signed_colour(2)
    ('#005aa0', '#f6f6f6', '#d55e00')
    """
    return "#" + signed_rgb(share).tobytes().hex()


def signed_scale(steps: int = 21) -> list[tuple[float, str]]:
    """Return the signed colours as a plotly colour scale that shows the page, light or dark, near 0.

    The range of values has to be symmetric about 0. On nearly white, they look like those of `signed_rgb`.

    Parameters
    ----------
    steps : int, default 21
        Number of colours, odd and at least 3, so that zero is one of them: a faint grey.

    Returns
    -------
    list of (float, str)
        Position, 0 to 1, and CSS colour.

    Examples
    --------
    >>> signed_scale(3)
    [(0.0, 'rgba(0, 90, 160, 1)'), (0.5, 'rgba(128, 128, 128, 0.08)'), (1.0, 'rgba(213, 94, 0, 1)')]
    """
    scale = []
    for t in np.linspace(-1, 1, steps).tolist():
        red, green, blue = (_NEGATIVE if t < 0 else _POSITIVE).astype(int).tolist()
        ink = f"rgba({red}, {green}, {blue}, {abs(t) ** _GAMMA:.3g})" if t else "rgba(128, 128, 128, 0.08)"
        scale.append(((1 + t) / 2, ink))
    return scale


def short(value: float) -> str:
    """Write a large number with three digits.

    Parameters
    ----------
    value : float
        The number.

    Returns
    -------
    str
        With k, M or G for thousands, millions and billions.

    Examples
    --------
    >>> short(40_551_040), short(269_434), short(336)
    ('40.6 M', '269 k', '336')
    """
    for bound, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * bound:
            scaled = value / bound
            return f"{scaled:.{max(0, 2 - int(np.log10(max(scaled, 1)) + 1e-9))}f} {letter}"
    return f"{value:,.0f}"
