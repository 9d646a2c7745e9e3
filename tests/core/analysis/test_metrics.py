"""Comparisons against naive loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdc_core.analysis.metrics import class_accuracy, confusion, disagreement, pareto_front

points = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12)


@given(points)
def test_the_front_holds_exactly_the_points_that_none_dominates(pairs: list[tuple[int, int]]) -> None:
    front = pareto_front([c for c, _ in pairs], [q for _, q in pairs])
    for i, (c, q) in enumerate(pairs):
        beaten = any(a <= c and b >= q and (a, b) != (c, q) for a, b in pairs)
        assert front[i] == (not beaten)


def test_confusion_and_class_accuracy_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    truth, said = rng.integers(0, 4, 200), rng.integers(0, 5, 200)
    counts = confusion(truth, said, 5)
    for i in range(5):
        for j in range(5):
            assert counts[i, j] == sum(t == i and s == j for t, s in zip(truth, said, strict=True))
    accuracy = class_accuracy(counts)
    assert accuracy[2] == pytest.approx((said[truth == 2] == 2).mean())
    assert np.isnan(accuracy[4])  # no example of that class


def test_every_disagreement_is_counted_once_and_explains_the_change_of_accuracy() -> None:
    rng = np.random.default_rng(1)
    truth, first, second = rng.integers(0, 3, (3, 500))
    found = disagreement(truth, first, second)
    assert found.count == (first != second).sum()
    assert len(found.won) - len(found.lost) == (second == truth).sum() - (first == truth).sum()
    assert not set(found.lost) & set(found.won) | set(found.neither) & set(found.won)
