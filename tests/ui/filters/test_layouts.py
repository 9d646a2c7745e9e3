"""UMAP in a process of its own: the same layout, an error that comes back, a process that died and is replaced."""

from __future__ import annotations

import numpy as np
import pytest

from pdc_core.analysis.maps import pca_map, trustworthiness
from ui.filters import layouts
from ui.filters.layouts import LayoutProcess
from ui.jobs import Jobs

LIMIT = 180  # seconds; against hanging
FEW = np.random.default_rng(0).normal(size=(3, 5))  # three filters need no UMAP


def test_layouts_and_errors_come_back_and_a_process_that_died_is_replaced() -> None:
    process = LayoutProcess()
    found = process.lay_out(FEW, 0)
    assert np.allclose(found.points, pca_map(FEW))
    assert found.quality == trustworthiness(FEW, pca_map(FEW))
    with pytest.raises(Exception, match="needs vectors of shape"):
        process.lay_out(np.zeros(4), 0)
    first = process._process
    assert first is not None
    first.kill()
    first.wait()
    assert np.allclose(process.lay_out(FEW, 0).points, pca_map(FEW))
    assert process._process is not None
    assert process._process.pid != first.pid
    process._process.kill()


def test_a_layout_that_has_not_begun_is_cancelled_when_the_session_goes_on_to_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from threading import Event

    go, laid_out, queue = Event(), [], Jobs()

    class Slow:
        def lay_out(self, vectors: np.ndarray, seed: int) -> int:
            assert go.wait(LIMIT)
            laid_out.append(len(vectors))
            return len(vectors)

    slow = Slow()
    monkeypatch.setattr(layouts, "layout_process", lambda: slow)
    monkeypatch.setattr(layouts, "jobs", lambda: queue)
    monkeypatch.setattr(layouts.st, "session_state", {})
    monkeypatch.setattr("ui.jobs.jobs", lambda: queue)
    first = layouts.request_layout(("first",), np.zeros((1, 2)), 0)
    while first.queued:
        pass
    second = layouts.request_layout(("second",), np.zeros((2, 2)), 0)
    third = layouts.request_layout(("third",), np.zeros((3, 2)), 0)
    assert second.cancelled
    go.set()
    third.wait(LIMIT)
    assert laid_out == [1, 3]
    again = layouts.request_layout(("second",), np.zeros((2, 2)), 0)
    again.wait(LIMIT)
    assert laid_out == [1, 3, 2]
