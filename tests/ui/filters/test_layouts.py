"""UMAP in a process of its own: the same layout, an error that comes back, a process that died and is replaced."""

from __future__ import annotations

import numpy as np
import pytest

from pdc_core.analysis.maps import pca_map, trustworthiness
from ui.filters.layouts import BackgroundMaps

WAIT = 180  # seconds


def test_layouts_and_errors_come_back_and_a_process_that_died_is_replaced() -> None:
    maps, few = BackgroundMaps(), np.random.default_rng(0).normal(size=(3, 5))  # three filters need no UMAP
    found = maps.request(("few",), few, 0)
    assert maps.request(("few",), few, 0) is found
    assert np.allclose(found.result(WAIT).points, pca_map(few))
    assert found.result().quality == trustworthiness(few, pca_map(few))
    with pytest.raises(Exception, match="needs vectors of shape"):
        maps.request(("wrong",), np.zeros(4), 0).result(WAIT)
    process = maps._process
    assert process is not None
    process.kill()
    process.wait()
    assert np.allclose(maps.request(("again",), few, 0).result(WAIT).points, pca_map(few))
    assert maps._process is not None
    assert maps._process.pid != process.pid
    maps._process.kill()
