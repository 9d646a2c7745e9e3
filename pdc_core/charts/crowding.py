"""Where the names of markers go, so that they do not cover each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

# Of a chart about 800 by 400 pixels: half a name's width and height, and how far it stands from its marker.
_HALF_WIDTH, _HALF_HEIGHT, _GAP = 0.045, 0.022, 0.012
_PLACES = {
    "top center": (0.0, _HALF_HEIGHT + _GAP),
    "bottom center": (0.0, -_HALF_HEIGHT - _GAP),
    "middle right": (_HALF_WIDTH + _GAP, 0.0),
    "middle left": (-_HALF_WIDTH - _GAP, 0.0),
    "top right": (_HALF_WIDTH, _HALF_HEIGHT + _GAP),
    "bottom right": (_HALF_WIDTH, -_HALF_HEIGHT - _GAP),
    "top left": (-_HALF_WIDTH, _HALF_HEIGHT + _GAP),
    "bottom left": (-_HALF_WIDTH, -_HALF_HEIGHT - _GAP),
}


def label_places(x: ArrayLike, y: ArrayLike) -> list[str]:
    """Return for each marker the side on which its name covers the fewest other names and markers.

    Greedy, in the order of the markers; names are taken to be equally long.

    Parameters
    ----------
    x, y : array of float, shape (n,)
        Where the markers are, in any units.

    Returns
    -------
    list of str
        Text positions of plotly's.

    Examples
    --------
    >>> label_places([0, 1, 1], [0, 1, 1.05])
    ['top center', 'bottom center', 'top center']
    """
    markers = np.column_stack([_scaled(x), _scaled(y)])
    reach = np.array([2 * _HALF_WIDTH, 2 * _HALF_HEIGHT])
    names: list[np.ndarray] = []
    places = []
    for marker in markers:
        crowded = {}
        for place, offset in _PLACES.items():
            middle = marker + offset
            over_names = sum(bool((np.abs(middle - other) < reach).all()) for other in names)
            over_markers = int((np.abs(middle - markers) < reach / 2 + [0.006, 0.012]).all(axis=1).sum())
            crowded[place] = over_names + over_markers
        best = min(crowded, key=crowded.__getitem__)
        places.append(best)
        names.append(marker + _PLACES[best])
    return places


def _scaled(values: ArrayLike) -> np.ndarray:
    found = np.asarray(values, dtype=np.float64)
    return found / max(float(np.ptp(found)), 1e-12) if len(found) else found
