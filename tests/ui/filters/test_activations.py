"""Activation maps on the page Filters: drawn in the colours of every other signed picture."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
from PIL import Image

from pdc_core import charts
from ui.filters.activations import _heat


def test_activation_maps_have_the_colours_of_kernels() -> None:
    values = np.array([[-1.0, -0.5, -0.03, 0.0, 0.03, 0.5, 1.0]], dtype=np.float32)
    found = re.search(r"base64,([^\"]+)", _heat(2 * values, 2.0))
    assert found is not None
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]))))[0]
    assert drawn.tolist() == charts.signed_rgb(values[0]).tolist()
