"""Comparing networks by what they say and cost: fronts, classes, confusions, disagreements. Arrays in and out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


def pareto_front(cost: ArrayLike, quality: ArrayLike) -> NDArray[np.bool_]:
    """Return which points no other beats: none is cheaper and at least as good, or better and at most as dear.

    Parameters
    ----------
    cost, quality : (n,); less cost and more quality are wanted. Of equal points all are kept.

    Examples
    --------
    >>> pareto_front([1, 2, 3], [0.8, 0.9, 0.85]).tolist()
    [True, True, False]
    """
    c, q = np.asarray(cost, dtype=np.float64), np.asarray(quality, dtype=np.float64)
    no_worse = (c[None, :] <= c[:, None]) & (q[None, :] >= q[:, None])  # (n, n): j is no worse than i
    better = no_worse & ((c[None, :] < c[:, None]) | (q[None, :] > q[:, None]))
    return np.asarray(~better.any(axis=1))


def confusion(truth: IntArray, said: IntArray, classes: int) -> IntArray:
    """Count how often class i was called j: int array (classes, classes), rows are the truth.

    Examples
    --------
    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    return np.bincount(truth * classes + said, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def class_accuracy(counts: IntArray) -> FloatArray:
    """Return the accuracy of every class from a confusion matrix, (classes,); NaN where a class has no example."""
    total = counts.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.diag(counts) / np.where(total > 0, total, np.nan))


@dataclass(frozen=True)
class Disagreement:
    """Where two networks name different classes for the same examples.

    Attributes
    ----------
    lost : examples that only the first gets right.
    won : examples that only the second gets right.
    neither : examples that both get wrong, in different ways.
    """

    lost: IntArray
    won: IntArray
    neither: IntArray

    @property
    def count(self) -> int:
        """How many examples there are in all."""
        return len(self.lost) + len(self.won) + len(self.neither)


def disagreement(truth: IntArray, first: IntArray, second: IntArray) -> Disagreement:
    """Return the examples on which two networks differ.

    Examples
    --------
    >>> found = disagreement(np.array([0, 1, 2, 2]), np.array([0, 0, 1, 2]), np.array([1, 1, 0, 2]))
    >>> found.lost.tolist(), found.won.tolist(), found.neither.tolist()
    ([0], [1], [2])
    """
    differ = first != second
    lost, won = differ & (first == truth), differ & (second == truth)
    return Disagreement(np.flatnonzero(lost), np.flatnonzero(won), np.flatnonzero(differ & ~lost & ~won))
