"""Figures by which a person chooses: what is drawn is the data, what is clicked names the right filter or count."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pdc_core import charts
from pdc_core.cluster import curve, dendrogram

VECTORS = np.random.default_rng(0).normal(size=(20, 5))
FOUND = curve(VECTORS)


def _points(n: int, k: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "y": rng.normal(size=n),
            "filter": range(n),
            "cluster": np.arange(n) % k,
            "image": "data:,",
        }
    )
    return frame, frame.groupby("cluster", as_index=False)[["x", "y"]].mean()


@pytest.mark.parametrize(("n", "k"), [(1, 1), (8, 3), (64, 64), (600, 70)])
def test_the_map_holds_every_filter_with_its_colour_shape_and_kernel(n: int, k: int) -> None:
    frame, centres = _points(n, k)
    spec = charts.linked_map(frame, centres, "a map of filters", ("first", "second"), chosen=[0])
    points, *others = spec["layer"]
    drawn = points["data"]["values"]
    assert [row["filter"] for row in drawn] == list(range(n))
    assert [row["colour"] for row in drawn] == [charts.colour(i % k) for i in range(n)]
    assert all(row["image"] == "data:," for row in drawn)
    assert "image" in {tip["field"] for tip in points["encoding"]["tooltip"]}
    assert drawn[0]["ring"] > max((row["ring"] for row in drawn[1:]), default=0)
    assert len(others[0]["data"]["values"]) == k
    assert {param["name"] for param in spec["params"]} == {charts.CLICK, charts.BRUSH}
    assert spec["background"] == "transparent"


def test_a_highlighted_cluster_alone_keeps_its_colour_on_the_map() -> None:
    frame, centres = _points(12, 4)
    spec = charts.linked_map(frame, centres, "a map of filters", ("first", "second"), highlight=2)
    drawn = spec["layer"][0]["data"]["values"]
    assert {row["colour"] for row in drawn if row["cluster"] == 2} == {charts.colour(2)}
    assert {row["colour"] for row in drawn if row["cluster"] != 2} == {charts.GREY}


@pytest.mark.parametrize("n", [1, 8, 100, 2048])
def test_a_tile_of_the_grid_names_the_filter_that_is_drawn_in_it(n: int) -> None:
    order, labels = np.random.default_rng(0).permutation(n), np.arange(n) % 3
    chosen = [int(order[0])]
    spec = charts.kernel_grid("data:,", order, labels, "Kernels of a layer", chosen=chosen)
    kernels, *_ = spec["layer"]
    tiles, columns = spec["data"]["values"], charts.grid_columns(n)
    for i in (0, n // 2, n - 1):
        assert (int(tiles[i]["x"]), int(tiles[i]["y"])) == (i % columns, i // columns)
        assert tiles[i]["filter"] == order[i]
        assert tiles[i]["colour"] == charts.colour(int(labels[order[i]]))
    assert [tile["filter"] for tile in tiles if tile["frame"]] == chosen
    (whole,) = kernels["data"]["values"]
    assert (whole["x"], whole["y"]) == (columns / 2, -(-n // columns) / 2)
    assert (kernels["mark"]["width"], kernels["mark"]["height"]) == (spec["width"], spec["height"])
    assert {param["name"] for param in spec["params"]} == {charts.CLICK}


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
