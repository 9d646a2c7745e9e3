"""Figures: the data drawn is the data given, titles and axes say what is shown, colours survive dark mode."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from pdc_core import charts


def _points(n: int, k: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"x": rng.normal(size=n), "y": rng.normal(size=n), "filter": range(n), "cluster": np.arange(n) % k}
    )


_LAYERS = pd.DataFrame({"name": ["conv1", "conv2", "fc"], "value": [100, 2_000_000, 30]})
_WIDTHS = pd.DataFrame({"name": ["conv1", "conv2"], "before": [16, 32], "after": [4, 8]})
_EPOCHS = pd.DataFrame(
    {
        "epoch": [0.5, 1.0],
        "loss": [2.0, 1.0],
        "ce": [1.5, 0.5],
        "kd": [0.5, 0.5],
        "strength": [0.0, 1.0],
        "deviation": [0.4, 0.0],
    }
)
_ACCURACY = pd.DataFrame({"epoch": [1, 2], "val_accuracy": [0.5, 0.75]})
_RUNS = pd.DataFrame(
    {"run": ["a", "a"], "stage": ["before", "folded"], "macs": [2_000_000, 500_000], "accuracy": [0.99, 0.98]}
)

_FIGURES = {
    "layer_bars": lambda: charts.layer_bars(_LAYERS, "MACs", "for one image"),
    "before_after_bars": lambda: charts.before_after_bars(_WIDTHS, "Filters", ""),
    "filter_map": lambda: charts.filter_map(_points(16, 4), "conv1: 16 filters", ("first", "second")),
    "loss_curves": lambda: charts.loss_curves(_EPOCHS, 2),
    "accuracy_curve": lambda: charts.accuracy_curve(_ACCURACY, 2, teacher=0.99),
    "tying_curves": lambda: charts.tying_curves(_EPOCHS, 2),
}


@pytest.mark.parametrize("name", _FIGURES)
def test_every_figure_says_what_it_shows_and_survives_dark_mode(name: str) -> None:
    figure = _FIGURES[name]()
    assert len(figure.layout.title.text) > 10
    assert figure.layout.xaxis.title.text
    assert figure.layout.title.text in figure.layout.meta["alt"]
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"


@pytest.mark.parametrize("name", ["loss_curves", "accuracy_curve", "tying_curves"])
def test_curves_without_a_point_yet_are_drawn_with_their_axes(name: str) -> None:
    empty = pd.DataFrame(columns=["epoch", "loss", "ce", "kd", "strength", "deviation", "val_accuracy"])
    figure = getattr(charts, name)(empty, 8)
    assert tuple(figure.layout.xaxis.range) == (0, 8)


def test_layer_bars_draw_the_values_first_layer_on_top() -> None:
    figure = charts.layer_bars(_LAYERS, "MACs", "for one image")
    assert list(figure.data[0].x) == [100, 2_000_000, 30]
    assert figure.layout.yaxis.autorange == "reversed"
    assert "2.00 M in all" in figure.layout.title.text


def test_before_after_bars_name_both_totals() -> None:
    figure = charts.before_after_bars(_WIDTHS, "Filters", "")
    assert "48 before, 12 after" in figure.layout.title.text
    assert [list(trace.x) for trace in figure.data] == [[16, 32], [4, 8]]


def test_accuracies_are_drawn_in_percent() -> None:
    teacher, student = charts.accuracy_curve(_ACCURACY, 2, teacher=0.99).data
    assert list(teacher.y) == [99.0, 99.0]
    assert list(student.y) == [50.0, 75.0]


@pytest.mark.parametrize("k", [1, 5, 12, 13, 64])
def test_filter_map_draws_every_filter_once_and_carries_its_index(k: int) -> None:
    frame = _points(64, k)
    figure = charts.filter_map(frame, "a map of filters", ("first", "second"))
    drawn = [int(i) for trace in figure.data for i in trace.customdata]
    assert sorted(drawn) == list(range(64))
    x = dict(zip(drawn, [value for trace in figure.data for value in trace.x], strict=True))
    assert [x[i] for i in range(64)] == list(frame["x"])


def test_56_clusters_differ_in_colour_or_symbol() -> None:
    assert len({(charts.colour(c), charts.symbol(c)) for c in range(56)}) == 56


def test_a_highlighted_cluster_alone_keeps_its_colour() -> None:
    figure = charts.filter_map(_points(40, 20), "a map of filters", ("first", "second"), highlight=3)
    colours = {int(i): c for trace in figure.data for i, c in zip(trace.customdata, trace.marker.color, strict=True)}
    assert colours[3] == colours[23] == charts.colour(3)
    assert {c for i, c in colours.items() if i % 20 != 3} == {charts.GREY}


def _luminance(colour: str) -> float:
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_cluster_colours_stand_out_on_white_and_on_a_dark_page() -> None:
    for colour in charts.COLOURS:
        on_white = 1.05 / (_luminance(colour) + 0.05)
        on_dark = (_luminance(colour) + 0.05) / (_luminance("#14181c") + 0.05)
        assert min(on_white, on_dark) > 2.0, colour


def test_kernel_picture_is_blue_for_negative_white_for_zero_orange_for_positive() -> None:
    filters = np.array([[[[-1.0]]], [[[0.0]]], [[[1.0]]]])  # three filters of one weight
    picture = charts.kernel_picture(filters, columns=3, scale=1)
    assert picture.shape == (5, 15, 4)
    blue, white, orange = picture[0, 0], picture[0, 5], picture[0, 10]
    assert blue[2] > blue[0]
    assert orange[0] > orange[2]
    assert white[:3].min() == white[:3].max() > 240
    assert picture[0, 1, 3] == picture[1, 0, 3] == 0  # gaps are transparent


def test_kernel_picture_places_each_input_channel_row_by_row() -> None:
    filters = np.zeros((1, 4, 3, 3))
    filters[0, 2] = 1.0  # third of four channels: second row, first column of a 2 x 2 tile
    for scale, seam, width in ((1, 0, 10), (2, 1, 22)):  # no seams where a weight is a single pixel
        picture = charts.kernel_picture(filters, columns=1, scale=scale)
        assert picture.shape == (width, width, 4)
        orange = picture[..., 0].astype(int) - picture[..., 2] > 50
        top = scale * (3 + seam)
        assert orange[top : top + 3 * scale, 0 : 3 * scale].all()
        assert orange.sum() == (3 * scale) ** 2


def test_kernel_picture_of_zeros_of_linear_layers_and_of_very_wide_layers() -> None:
    assert (charts.kernel_picture(np.zeros((2, 3, 3, 3)))[..., :3][0, 0] > 240).all()
    assert charts.kernel_picture(np.ones((5, 10))).shape[2] == 4
    wide = np.zeros((1, 100, 1, 1))
    wide[0, 99] = 1.0
    picture = charts.kernel_picture(wide, scale=1)
    assert picture.shape == (12, 12, 4)
    assert (picture[..., 0].astype(int) - picture[..., 2] > 50).sum() == 1


def test_pictures_that_share_a_bound_share_their_colours() -> None:
    small = charts.kernel_picture(np.full((1, 1, 1, 1), 0.5), scale=1, bound=1.0)
    both = charts.kernel_picture(np.array([0.5, 1.0]).reshape(2, 1, 1, 1), scale=1)
    assert np.array_equal(small[0, 0], both[0, 0])


def test_plotly_is_imported_only_when_a_figure_is_drawn() -> None:
    code = "import sys, pdc_core.charts; assert 'plotly' not in sys.modules and 'pandas' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_figures_are_plotly_figures() -> None:
    assert all(isinstance(build(), go.Figure) for build in _FIGURES.values())


def test_filters_that_are_tied_from_the_start_are_drawn_so_and_not_as_enlarged_rounding() -> None:
    tied = pd.DataFrame({"epoch": [0.5, 1.0, 2.0], "strength": 1.0, "deviation": [2e-8, 5e-8, 1e-8]})
    pulled = tied.assign(deviation=[0.4, 0.1, 0.0])
    drawn = [charts.tying_curves(frame, 2).data[1].y for frame in (tied, pulled)]
    assert max(drawn[0]) < 1e-3
    assert list(drawn[1]) == [1.0, 0.25, 0.0]
