"""Signed values have one set of colours everywhere, and a tile shows no more of a filter than can be read."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pdc_core import charts
from pdc_core.charts.drawing import panel

VALUES = np.array([-1.0, -0.5, -0.03, 0.0, 0.03, 0.5, 1.0])


def _of_kernels() -> list[list[int]]:
    pixels = charts.kernel_picture(VALUES.reshape(-1, 1, 1, 1), columns=len(VALUES), scale=1)
    return pixels[0, :: 1 + charts.KERNEL_GAP, :3].tolist()


def _of_drawings() -> list[list[int]]:
    fills = re.findall(r'<rect[^>]*fill="#(\w{6})"', panel(VALUES[None], 0, 0, 70, "x", 1.0))
    return [list(bytes.fromhex(fill)) for fill in fills]


def _of_notebooks() -> list[list[int]]:
    source = charts.tiles(VALUES.reshape(-1, 1, 1, 1), "seven", columns=7).data[0].source
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))
    return pixels[0, :: 4 * (1 + charts.KERNEL_GAP), :3].tolist()


@pytest.mark.parametrize("drawn", [_of_kernels, _of_drawings, _of_notebooks])
def test_kernels_drawings_and_notebooks_have_the_same_colours(drawn: Any) -> None:
    expected = []
    for value in VALUES:  # blue below 0, orange above
        end = np.array([0, 90, 160]) if value < 0 else np.array([213, 94, 0])
        expected.append([round(246 + abs(value) ** 0.7 * (float(part) - 246)) for part in end])
    assert np.abs(np.array(drawn()) - expected).max() <= 1
    assert drawn() == charts.signed_rgb(VALUES).tolist()


def test_changes_of_a_confusion_matrix_have_them_too_on_a_page_that_is_nearly_white() -> None:
    counts = np.array([[8, 2], [1, 9]]), np.array([[7, 3], [0, 10]])
    scale = charts.confusion_change(["cat", "dog"], *counts).data[0].colorscale
    for share, shade in scale:
        *ink, opacity = (float(part) for part in re.findall(r"[\d.]+", shade))
        seen = 246 + opacity * (np.array(ink) - 246)
        assert np.abs(seen - charts.signed_rgb(2 * share - 1)).max() <= (10 if share == 0.5 else 1)
    assert dict(scale)[0.5] == "rgba(128, 128, 128, 0.08)"  # no change is the page's own colour, light or dark


@pytest.mark.parametrize(
    ("shape", "side", "m"),
    [
        ((16, 1, 3, 3), 79, 1),
        ((64, 3, 7, 7), 39.5, 3),  # four fit, three are there
        ((16, 16, 3, 3), 79, 16),
        ((64, 64, 3, 3), 39.5, 16),
        ((128, 512, 3, 3), 19.75, 1),
        ((8, 50), 39, 50),
        ((8, 300), 39, 64),  # of more no picture is drawn
    ],
)
def test_a_tile_shows_as_many_channels_as_can_be_read(shape: tuple[int, ...], side: float, m: int) -> None:
    filters = np.random.default_rng(0).normal(size=shape)
    shown, words = charts.legible_kernels(filters, side)
    assert shown.shape[:2] == (shape[0], m)
    whole = filters.reshape(*shape[:2], *(shape[2:] or (1, 1)))
    across, seam = int(np.ceil(np.sqrt(m))), int(len(shape) == 4)
    if m > 1 or shape[1] == 1:
        assert side / (across * (shown.shape[3] + seam) - seam + charts.KERNEL_GAP) >= 2  # pixels of a weight
    if m == shape[1]:
        assert np.array_equal(shown, whole)
    elif m == 1:
        assert np.allclose(shown, whole.mean(axis=1, keepdims=True))
        assert words == f"the mean over {shape[1]} input channels"
    else:
        norms = [float((whole[:, j] ** 2).sum()) for j in range(shape[1])]
        best = sorted(sorted(range(shape[1]), key=lambda j: norms[j])[-m:])
        assert np.array_equal(shown, whole[:, best])
        assert words == f"the {m} strongest of {shape[1]} input channels"
