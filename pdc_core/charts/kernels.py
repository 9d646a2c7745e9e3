"""Filters as pictures: pixels of their kernels, no figure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pdc_core.charts.palette import signed_rgb

KERNEL_LIMIT = 64
_LEGIBLE = 2  # pixels of a weight that can still be told from its neighbours
_FEW = 4  # with fewer input channels than this, their mean is clearer
KERNEL_GAP = 4  # between tiles, in weights
GRID_WIDTH = 316  # pixels: a grid of tiles that fits beside a map on a projector of 1280


def grid_columns(n: int) -> int:
    """Return the tiles per row in the grid of kernels.

    Parameters
    ----------
    n : int
        Kernels.

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    >>> [grid_columns(n) for n in (8, 16, 32, 64, 256, 2048)]
    [4, 4, 6, 8, 16, 32]
    """
    return next((columns for limit, columns in ((16, 4), (36, 6), (64, 8), (256, 16)) if n <= limit), 32)


def kernel_picture(
    filters: NDArray[Any], columns: int = 16, scale: int = 4, bound: float | None = None, gap: int = KERNEL_GAP
) -> NDArray[np.uint8]:
    """Draw filters as tiles in signed colours (`palette.signed_rgb`), one scale for all.

    Every filter is one tile, its input channels side by side in it, read row by row; of more than 64 input channels the
    64 of largest norm are drawn.

    Parameters
    ----------
    filters : array of float, shape (n, c, kh, kw) or (n, c)
        Weights of a convolution or of a linear layer.
    columns : int, default 16
        Tiles per row of the picture, at least 1.
    scale : int, default 4
        Pixels per weight, at least 1.
    bound : float, optional
        The |weight| of full colour; by default the largest of `filters`. Pictures to compare share it.
    gap : int, default 4
        Weights between two tiles, 0 or more.

    Returns
    -------
    array of uint8, shape (height, width, 4)
        RGBA; the gaps between tiles are transparent.

    Examples
    --------
    >>> kernel_picture(np.zeros((2, 1, 3, 3)), columns=2, scale=1).shape
    (7, 14, 4)
    """
    weights = np.asarray(filters, dtype=np.float64)
    if weights.ndim == 2:
        weights = weights[:, :, None, None]
    weights = strongest_channels(weights, KERNEL_LIMIT)
    n, c, kh, kw = weights.shape
    bound = bound or float(np.abs(weights).max()) or 1.0
    across = int(np.ceil(np.sqrt(c)))
    down = int(np.ceil(c / across))
    seam = 1 if kh * kw > 1 and scale > 1 else 0  # where a weight is one pixel, seams would hide the weights
    tile = np.full((n, down * (kh + seam) - seam, across * (kw + seam) - seam), np.nan)
    for j in range(c):
        top, left = (j // across) * (kh + seam), (j % across) * (kw + seam)
        tile[:, top : top + kh, left : left + kw] = np.clip(weights[:, j] / bound, -1, 1)
    tile = tile.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = tile.shape[1] + gap * scale, tile.shape[2] + gap * scale
    columns = max(1, min(columns, n))
    rows = -(-n // columns)
    canvas = np.full((rows * height, columns * width), np.nan)
    for i in range(n):
        top, left = (i // columns) * height, (i % columns) * width
        canvas[top : top + tile.shape[1], left : left + tile.shape[2]] = tile[i]
    return _diverging(canvas)


def strongest_channels(filters: NDArray[Any], count: int) -> NDArray[Any]:
    """Return the input channels of largest norm over all filters, in their own order.

    Every filter keeps the same channels, so that filters can be compared.

    Parameters
    ----------
    filters : array of float, shape (n, c, kh, kw) or (n, c)
        Weights of a convolution or of a linear layer.
    count : int
        Channels to keep, at least 1; all if there are fewer.

    Returns
    -------
    array of float, shape (n, min(c, count), kh, kw) or (n, min(c, count))
        Their weights.

    Examples
    --------
    >>> strongest_channels(np.array([[1.0, -5.0, 2.0], [0.0, 0.0, 2.0]]), 2).tolist()
    [[-5.0, 2.0], [0.0, 2.0]]
    """
    weights = np.asarray(filters)
    if count >= weights.shape[1]:
        return weights
    norms = (weights.astype(np.float64) ** 2).sum(axis=(0, *range(2, weights.ndim)))
    return weights[:, np.sort(np.argsort(norms, kind="stable")[-count:])]


def legible_kernels(filters: NDArray[Any], side: float, gap: int = KERNEL_GAP) -> tuple[NDArray[Any], str]:
    """Return as much of each filter as can be read in a tile, and describe it in words.

    All input channels if there are at most 64 and they fit with 2 pixels per weight, else the strongest
    (`strongest_channels`), or the mean over all input channels if fewer than 4 fit.

    Parameters
    ----------
    filters : array of float, shape (n, c, kh, kw) or (n, c)
        Weights of a convolution or of a linear layer.
    side : float
        Width of a tile and the gap to the next in pixels, above 0.
    gap : int, default 4
        Weights between two tiles, 0 or more.

    Returns
    -------
    shown : array of float, shape (n, m, kh, kw)
        m from 1 to c.
    words : str
        Such as "all 3 input channels", "the 16 strongest of 64 input channels".

    Examples
    --------
    >>> legible_kernels(np.zeros((64, 64, 3, 3)), side=39)[1]
    'the 16 strongest of 64 input channels'
    >>> legible_kernels(np.zeros((512, 512, 3, 3)), side=10)[1]
    'the mean over 512 input channels'
    """
    weights = np.asarray(filters)
    if weights.ndim == 2:
        weights = weights[:, :, None, None]
    c, (kh, kw) = weights.shape[1], weights.shape[2:]
    seam = 1 if kh * kw > 1 else 0
    across = max(0, int((side / _LEGIBLE - gap + seam) // (kw + seam)))
    fits = min(across**2, KERNEL_LIMIT)
    if c == 1:
        return weights, "the one input channel"
    if fits >= c:
        return weights, f"all {c} input channels"
    if fits >= _FEW:
        return strongest_channels(weights, fits), f"the {fits} strongest of {c} input channels"
    return weights.mean(axis=1, keepdims=True), f"the mean over {c} input channels"


def _diverging(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Map -1..1 to signed colours; NaN to transparent."""
    blank = np.isnan(values)
    alpha = np.where(blank, 0, 255).astype(np.uint8)[..., None]
    return np.concatenate([signed_rgb(np.where(blank, 0.0, values)), alpha], axis=-1)
