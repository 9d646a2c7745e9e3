"""Figures by which a person chooses: what is drawn is the data, what is clicked names the right count."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pdc_core import charts
from pdc_core.clustering import curve, dendrogram

VECTORS = np.random.default_rng(0).normal(size=(20, 5))
FOUND = curve(VECTORS)


def test_every_k_is_drawn_in_percent_and_carries_itself() -> None:
    rated = pd.DataFrame({"k": FOUND.k, "lost": FOUND.lost, "silhouette": FOUND.silhouette})
    figure = charts.every_k(rated, 5, suggested=9, now=0.25)
    lost, silhouette, now = figure.data
    assert list(lost.customdata) == list(range(1, 21))
    assert np.allclose(lost.y, 100 * FOUND.lost)
    assert np.allclose(silhouette.y[1:], 100 * FOUND.silhouette[1:])
    assert (list(now.x), list(now.y)) == ([5], [25])
    assert sorted(shape.x0 for shape in figure.layout.shapes) == [5, 9]
    assert "from 1 to 20; now 5" in figure.layout.title.text


@pytest.mark.parametrize("k", [1, 2, 7, 19, 20])
def test_the_cut_of_the_tree_lies_between_the_merges_that_are_done_and_those_that_are_not(k: int) -> None:
    drawn = dendrogram(FOUND.tree)
    figure = charts.tree_lines(drawn.joints, drawn.members, k)
    level = figure.layout.shapes[0].y0
    assert int((FOUND.tree[:, 2] <= level).sum()) == 20 - k
    joints = figure.data[2]
    assert sorted(joints.customdata) == list(range(2, 21))
    assert [str(label) for label in figure.layout.xaxis.ticktext] == [str(m[0]) for m in drawn.members]


def test_a_tree_of_many_filters_says_what_is_not_drawn() -> None:
    drawn = dendrogram(FOUND.tree, leaves=6)
    figure = charts.tree_lines(drawn.joints, drawn.members, 3)
    assert "the lowest 14 merges are not drawn" in figure.layout.xaxis.title.text
    assert len(figure.layout.xaxis.ticktext) == 6


def test_sensitivity_is_drawn_in_percent_and_every_curve_ends_at_the_whole_network() -> None:
    frame = pd.DataFrame(
        {"group": ["a", "a", "b"], "keep": [0.5, 0.25, 0.5], "k": [4, 2, 8], "accuracy": [0.9, 0.6, 0.8]}
    )
    figure = charts.sensitivity_curves(frame, 0.95, highlight="b")
    a, b = figure.data
    assert (list(a.x), list(a.y)) == ([25, 50, 100], [60, 90, 95])
    assert list(b.y) == [80, 95]
    assert a.line.color == charts.GREY != b.line.color
    assert "95.0 %" in figure.layout.title.text
    assert "the lowest point is a with 2 clusters" in figure.layout.meta["alt"]
    assert charts.sensitivity_curves(frame[:0], 0.95).layout.meta["alt"]


@pytest.mark.parametrize("n", [2, 16, 17, 20, 32, 40, 64, 200])
def test_labels_of_the_tree_do_not_touch_and_hover_names_every_filter(n: int) -> None:
    drawn = dendrogram(curve(np.random.default_rng(1).normal(size=(n, 4))).tree)
    figure = charts.tree_lines(drawn.joints, drawn.members, 2)
    axis, feet = figure.layout.xaxis, figure.data[3]
    if axis.showticklabels:
        level = axis.tickangle == 0
        wide = max(len(text) for text in axis.ticktext) * 0.6 * axis.tickfont.size if level else axis.tickfont.size
        assert wide <= 440 / len(drawn.members)  # pixels of half a page at 1280
    else:
        assert len(drawn.members) > 32
        assert "foot" in axis.title.text
    assert list(feet.x) == list(range(len(drawn.members)))
    assert feet.customdata is None  # a click on a foot chooses no count
    for text, members in zip(feet.hovertext, drawn.members, strict=True):
        assert text == f"filter {members[0]}" if len(members) == 1 else text.startswith(f"{len(members)} filters: ")
    assert sum(int(t.split()[0]) if "filters" in t else 1 for t in feet.hovertext) == n
