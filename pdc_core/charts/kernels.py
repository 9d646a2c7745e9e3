"""Filters as pictures: pixels of their kernels, no figure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

KERNEL_LIMIT = 64
KERNEL_GAP = 4  # between tiles, in weights
GRID_WIDTH = 316  # pixels: a grid of tiles that fits beside a map on a projector of 1280


def grid_columns(n: int) -> int:
    """Return how many tiles a row of the grid of n kernels has.

    >>> [grid_columns(n) for n in (8, 16, 32, 64, 256, 2048)]
    [4, 4, 6, 8, 16, 32]
    """
    return next((columns for limit, columns in ((16, 4), (36, 6), (64, 8), (256, 16)) if n <= limit), 32)


def kernel_picture(
    filters: NDArray[Any], columns: int = 16, scale: int = 4, bound: float | None = None
) -> NDArray[np.uint8]:
    """Draw filters as tiles: blue weights are negative, orange positive, white zero; one scale for all.

    Every filter is one tile, its input channels side by side in it, read row by row; of more than 64 input
    channels the 64 of largest norm are drawn.

    Parameters
    ----------
    filters : array (n, c, kh, kw) or (n, c)
        Weights of a convolution or of a linear layer.
    columns : int
        Tiles in a row of the picture, at least 1.
    scale : int
        Pixels of a weight, at least 1.
    bound : float, optional
        The |weight| of full colour; the largest of `filters` when not given. Pictures to compare share it.

    Returns
    -------
    uint8 array (height, width, 4)
        RGBA; the gaps between tiles are transparent.

    Examples
    --------
    >>> kernel_picture(np.zeros((2, 1, 3, 3)), columns=2, scale=1).shape
    (7, 14, 4)
    """
    weights = np.asarray(filters, dtype=np.float64)
    if weights.ndim == 2:
        weights = weights[:, :, None, None]
    n, c, kh, kw = weights.shape
    if c > KERNEL_LIMIT:
        largest = np.sort(np.argsort((weights**2).sum(axis=(0, 2, 3)))[-KERNEL_LIMIT:])
        weights, c = weights[:, largest], KERNEL_LIMIT
    bound = bound or float(np.abs(weights).max()) or 1.0
    across = int(np.ceil(np.sqrt(c)))
    down = int(np.ceil(c / across))
    seam = 1 if kh * kw > 1 and scale > 1 else 0  # where a weight is one pixel, seams would hide the weights
    tile = np.full((n, down * (kh + seam) - seam, across * (kw + seam) - seam), np.nan)
    for j in range(c):
        top, left = (j // across) * (kh + seam), (j % across) * (kw + seam)
        tile[:, top : top + kh, left : left + kw] = np.clip(weights[:, j] / bound, -1, 1)
    tile = tile.repeat(scale, axis=1).repeat(scale, axis=2)
    gap = KERNEL_GAP * scale
    height, width = tile.shape[1] + gap, tile.shape[2] + gap
    columns = max(1, min(columns, n))
    rows = -(-n // columns)
    canvas = np.full((rows * height, columns * width), np.nan)
    for i in range(n):
        top, left = (i // columns) * height, (i % columns) * width
        canvas[top : top + tile.shape[1], left : left + tile.shape[2]] = tile[i]
    return _diverging(canvas)


def _diverging(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Map -1..1 to blue, white, orange; NaN to transparent."""
    ends = {-1: np.array([0, 90, 160.0]), 1: np.array([213, 94, 0.0])}
    white = np.array([246, 246, 246.0])
    blank = np.isnan(values)
    v = np.where(blank, 0.0, values)[..., None]
    rgb = white + np.abs(v) ** 0.7 * (np.where(v < 0, ends[-1], ends[1]) - white)
    alpha = np.where(blank, 0.0, 255.0)[..., None]
    return np.concatenate([rgb, alpha], axis=-1).round().astype(np.uint8)
