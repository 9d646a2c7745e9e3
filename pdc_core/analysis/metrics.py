"""Comparing networks by their answers and costs: fronts, classes, confusions, disagreements. Arrays in and out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


def pareto_front(cost: ArrayLike, quality: ArrayLike) -> NDArray[np.bool_]:
    """Return which points no other dominates: none is cheaper and at least as good, or better and at most as expensive.

    Parameters
    ----------
    cost, quality : array of float, shape (n,)
        Less cost and more quality are better. Among equal points all are kept.

    Returns
    -------
    array of bool, shape (n,)
        Whether each point is on the front.

    Examples
    --------
    >>> pareto_front([1, 2, 3], [0.8, 0.9, 0.85]).tolist()
    [True, True, False]
    """
    c, q = np.asarray(cost, dtype=np.float64), np.asarray(quality, dtype=np.float64)
    no_worse = (c[None, :] <= c[:, None]) & (q[None, :] >= q[:, None])  # (n, n): j is no worse than i
    better = no_worse & ((c[None, :] < c[:, None]) | (q[None, :] > q[:, None]))
    return np.asarray(~better.any(axis=1))


def confusion(truth: IntArray, predicted: IntArray, classes: int) -> IntArray:
    """Count how often class i was called j.

    Parameters
    ----------
    truth, predicted : array of int, shape (n,)
        True and predicted classes, 0 to classes - 1.
    classes : int
        Number of classes.

    Returns
    -------
    array of int64, shape (classes, classes)
        Counts; rows are the truth.

    Examples
    --------
    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    return (
        np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes).astype(np.int64)
    )


def class_accuracy(counts: IntArray) -> FloatArray:
    """Return the accuracy of every class from a confusion matrix.

    Parameters
    ----------
    counts : array of int, shape (classes, classes)
        As `confusion` returns it.

    Returns
    -------
    array of float64, shape (classes,)
        0 to 1; NaN for a class without examples.
    """
    total = counts.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.diag(counts) / np.where(total > 0, total, np.nan))


@dataclass(frozen=True)
class Disagreement:
    """Examples for which two networks name different classes.

    Attributes
    ----------
    lost : array of int64
        Examples that only the first gets right.
    won : array of int64
        Examples that only the second gets right.
    neither : array of int64
        Examples that both get wrong, in different ways.
    """

    lost: IntArray
    won: IntArray
    neither: IntArray

    @property
    def count(self) -> int:
        """Number of examples in all."""
        return len(self.lost) + len(self.won) + len(self.neither)


def disagreement(truth: IntArray, first: IntArray, second: IntArray) -> Disagreement:
    """Return the examples on which two networks differ.

    Parameters
    ----------
    truth : array of int, shape (n,)
        True classes.
    first, second : array of int, shape (n,)
        Classes that the networks predict.

    Returns
    -------
    Disagreement
        Positions, ascending.

    Examples
    --------
    >>> found = disagreement(np.array([0, 1, 2, 2]), np.array([0, 0, 1, 2]), np.array([1, 1, 0, 2]))
    >>> found.lost.tolist(), found.won.tolist(), found.neither.tolist()
    ([0], [1], [2])
    """
    differ = first != second
    lost, won = differ & (first == truth), differ & (second == truth)
    return Disagreement(np.flatnonzero(lost), np.flatnonzero(won), np.flatnonzero(differ & ~lost & ~won))
