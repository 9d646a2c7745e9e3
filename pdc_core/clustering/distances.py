"""Distances between all pairs of vectors."""

from __future__ import annotations

from pdc_core.clustering.labels import FloatArray


def squared_distances(vectors: FloatArray) -> FloatArray:
    """Return ||x_i - x_j||^2 for all pairs, by one matrix product.

    Parameters
    ----------
    vectors : array of float, shape (n, d)
        The rows x_i.

    Returns
    -------
    array of float, shape (n, n)
        0 or more; exactly 0 on the diagonal and for pairs that are equal up to rounding.

    Examples
    --------
    >>> import numpy as np
    >>> squared_distances(np.array([[0.0, 0.0], [3.0, 4.0]])).tolist()
    [[0.0, 25.0], [25.0, 0.0]]
    """
    squares = (vectors**2).sum(axis=1)
    both = squares[:, None] + squares[None, :]
    apart = both - 2 * vectors @ vectors.T
    apart[apart < 1e-13 * both] = 0
    apart.flat[:: len(vectors) + 1] = 0
    return apart
