"""What fits into a time budget: most images first, two epochs at least, and the whole of the time."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdc_core.errors import PDCError
from pdc_core.runs.budget import _of_length
from pdc_core.train import Forecast, Training, fit_length, forecast, timing
from tests.training import FEW, GRAPH, MODEL, PLAN, little


def found(step: float, between: float = 0.0, fixed: float = 0.0) -> Forecast:
    return Forecast(
        epochs=1, steps=1, images=1, macs_before=1, macs_after=1, params_before=1, params_after=1, step_seconds=step,
        mean_seconds=step, epoch_seconds=between, fixed_seconds=fixed, seconds=1.0, share=1.0, memory=1, device="cpu",
    )  # fmt: skip


@given(
    budget=st.floats(1, 4000),
    step=st.floats(0.001, 2),
    between=st.floats(0, 20),
    fixed=st.floats(0, 20),
    images=st.integers(20, 60_000),
    batch=st.integers(2, 512),
)
def test_the_run_ends_near_its_budget_or_the_budget_is_too_short(
    budget: float, step: float, between: float, fixed: float, images: int, batch: int
) -> None:
    known = found(step, between, fixed)
    try:
        length = fit_length(known, budget, 0.5, images, batch, 10)
    except PDCError:
        least = max(1, math.ceil(10 / batch))
        assert budget - 0.5 - fixed < 2 * (least * step + between)
        return
    assert length.epochs >= 2
    assert 2 <= length.images <= images
    steps = max(1, length.images // batch + (length.images % batch >= 2))
    took = 0.5 + fixed + length.epochs * (steps * step + between)
    assert took <= budget + 1e-6
    if length.epochs < 100_000:
        # a run of few steps cannot fill every budget: one more step an epoch is the least that can be added
        assert took >= 0.5 * budget or took + length.epochs * step + between > budget


@pytest.mark.parametrize(
    ("budget", "images", "epochs"), [(20, 10_000, 20), (2, 10_000, 2), (1, 5000, 2), (2.5, 8300, 3)]
)
def test_most_images_come_first_and_then_epochs(budget: float, images: int, epochs: int) -> None:
    length = fit_length(found(0.01), budget, 0.0, 10_000, 100, 10)
    assert length.epochs == epochs
    assert length.images == pytest.approx(images, abs=100)


def test_a_budget_that_is_too_short_says_how_long_it_has_to_be() -> None:
    with pytest.raises(PDCError, match=r"A budget of 5 s is too short: .* take about 6 s here") as error:
        fit_length(found(1.0, 2.0, 5.0), 5, 1.0, 10_000, 100, 10)
    assert "give at least 14 s, or no budget." in str(error.value)  # 1.1 x (6 + 2 x 3), rounded up
    assert fit_length(found(1.0, 2.0, 5.0), 14, 1.0, 10_000, 100, 10).images == 200


def test_a_busy_machine_is_said_and_not_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "overfull", lambda: True)
    monkeypatch.setattr(timing.time, "thread_time", lambda: 0.25 * timing.time.perf_counter())
    busy = forecast(little(), FEW, Training(epochs=3))
    assert busy.busy
    assert busy.share == pytest.approx(0.25, rel=0.01)
    monkeypatch.setattr(timing, "overfull", lambda: False)
    free = forecast(little(), FEW, Training(epochs=3))
    assert not free.busy
    assert free.share == 1


def test_all_parts_of_a_run_count() -> None:
    settings = Training(epochs=2, fold_when_tied=True)
    seen = forecast(MODEL, FEW, settings, PLAN, clustered=True)
    dealt = forecast(MODEL, FEW, settings, PLAN)
    assert seen.fixed_seconds > 0
    assert seen.epoch_seconds > 0
    assert seen.mean_seconds <= seen.step_seconds
    assert dealt.macs_after == seen.macs_after
    assert GRAPH.clusterable


def test_a_forecast_for_another_length_counts_the_steps_at_full_width_that_this_one_has() -> None:
    by_length = Training(merges=None, fold_when_tied=True, tied_after=0.3)
    short = replace(found(0.5), step_seconds=1.0, steps=100)
    longer = _of_length(short, by_length, 5000)
    assert longer.mean_seconds == pytest.approx(0.3 * 1.0 + 0.7 * 0.5)
    assert _of_length(replace(longer, steps=5000), by_length, 100).mean_seconds == pytest.approx(0.5)
    assert _of_length(short, Training(merges=6, fold_when_tied=True), 5000) is short
