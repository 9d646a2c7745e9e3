"""Figures of the lessons: what is drawn is what was given."""

from __future__ import annotations

import base64
import io

import numpy as np
import pandas as pd
from PIL import Image

from pdc_core import charts


def test_tiles_are_the_picture_of_the_kernels_with_a_name_under_each():
    filters = np.random.default_rng(0).normal(size=(5, 2, 3, 3))
    figure = charts.tiles(filters, "Five", [f"f{i}" for i in range(5)], columns=3)
    png = base64.b64decode(figure.data[0].source.partition(",")[2])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), charts.kernel_picture(filters, columns=3, scale=4))
    names = {note.text: (note.x, note.y) for note in figure.layout.annotations}
    assert list(names) == [f"f{i}" for i in range(5)]
    assert names["f0"][1] == names["f2"][1] < names["f3"][1]
    assert names["f0"][0] == names["f3"][0] < names["f1"][0]


def test_curves_hold_the_numbers_given_and_differ_without_colour():
    figure = charts.curves({"a": ([1, 2], [3.0, 4.0]), "b": ([1, 2], [5.0, 6.0])}, "Two", "k", "lost", marked=1.5)
    assert [(curve.name, list(curve.y)) for curve in figure.data] == [("a", [3.0, 4.0]), ("b", [5.0, 6.0])]
    assert len({curve.line.dash for curve in figure.data}) == 2
    assert figure.layout.shapes[0].x0 == 1.5


def test_over_seeds_draws_the_mean_and_the_sample_deviation_in_percent():
    frame = pd.DataFrame({"method": ["a", "a", "a", "b"], "accuracy": [0.9, 0.92, 0.94, 0.5]})
    figure = charts.over_seeds(frame, "Methods", whole=0.99)
    seeds_a, mean_a, _, mean_b = figure.data
    assert sorted(seeds_a.x) == [90, 92, 94]
    assert np.isclose(mean_a.x[0], 92)
    assert np.isclose(mean_a.error_x.array[0], 2)
    assert mean_b.error_x.array[0] == 0
    assert "a: 92.0 ± 2.0 %" in figure.layout.meta["alt"]
    assert figure.layout.shapes[0].x0 == 99
