"""What pages show of a run: pace, progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from streamlit.testing.v1 import AppTest

from pdc_core.runs import read_run
from ui.runs.progress import pace_of, progress_of

PAGES = Path(__file__).parents[3] / "pages"
Open = Callable[..., AppTest]
Texts = Callable[[AppTest], dict[str, str]]
Press = Callable[[AppTest, str], AppTest]


def test_the_pace_is_images_over_time_while_a_run_is_under_way(finished: Path) -> None:

    run = replace(read_run(finished), state="running")
    run.status.update(step=100, steps=300, eta_seconds=10.0, message="waiting")
    waiting = replace(run, state="queued")
    assert pace_of(waiting) == ""
    assert progress_of(waiting) == (100 / 300, "Queued: waiting")
    run.status.update(message="training")
    assert progress_of(run)[1].startswith("Epoch 0.3 of 1")
    assert pace_of(run) == f" · {200 * 64 / 10:,.0f} images/s"
    run.status.update(step=300, eta_seconds=None, message="timing forward passes")
    assert progress_of(run) == (1.0, "Running: timing forward passes")
    assert pace_of(run) == ""
