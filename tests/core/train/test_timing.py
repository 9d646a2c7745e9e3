"""A forecast counts the steps, images, MACs and parameters of the run that it stands for, and changes nothing."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import pdc_core as pdc
from pdc_core.train import Recorder, Training, timing
from pdc_core.train.loop import Loop
from pdc_core.train.timing import forecast
from tests.networks import counted_macs, parameters
from tests.training import FEW, little


class Counts(Recorder):
    steps = 0

    def progress(self, step: int, steps: int, epoch: int, epochs: int) -> None:
        self.steps = step


@pytest.mark.parametrize("batch_size", [32, 43, 128])
def test_a_forecast_of_teaching_has_the_steps_of_the_run(batch_size: int) -> None:
    net, told = little(), Counts()
    before = copy.deepcopy(net.state_dict())
    settings = Training(epochs=2, batch_size=batch_size)
    seen = forecast(net, FEW, settings)
    pdc.teach(net, FEW, settings=settings, recorder=told)
    assert (seen.epochs, seen.images, seen.steps) == (2, 130, told.steps)
    x = torch.zeros(1, 1, 8, 8)
    assert seen.macs_before == seen.macs_after == counted_macs(net, x)
    assert seen.params_before == seen.params_after == parameters(net)
    assert all(torch.equal(before[name], t) for name, t in net.state_dict().items())
    assert 10e6 < seen.memory < 1e12
    assert seen.device == "cpu"


def test_a_forecast_of_a_plan_has_the_size_of_the_folded_network() -> None:
    net, x = little(), torch.zeros(1, 1, 8, 8)
    graph = pdc.trace(net, x)
    plan = pdc.Plan.uniform(graph, 0.5)
    seen = forecast(net, FEW, Training(epochs=3), plan)
    labels = pdc.assign(net, graph, plan)
    small = pdc.fold(pdc.reconstruct_(copy.deepcopy(net), graph, labels), graph, labels)
    assert (seen.macs_before, seen.params_before) == (counted_macs(net, x), parameters(net))
    assert (seen.macs_after, seen.params_after) == (counted_macs(small, x), parameters(small))


def test_the_time_of_a_run_is_its_steps_by_the_median_of_those_that_are_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    def trial(self: Loop, task: Any, steps: int) -> list[float]:
        assert steps == 12
        return [100.0, 100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 50.0]

    now = [0.0]

    def evaluate(network: Any, data: pdc.Data, split: pdc.Split, **_: Any) -> None:
        now[0] += 0.01 * len(split)

    monkeypatch.setattr(Loop, "trial", trial)
    monkeypatch.setattr(timing, "evaluate", evaluate)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(timing, "overfull", lambda: False)
    seen = forecast(little(), FEW, Training(epochs=3))
    assert seen.step_seconds == 5.5
    assert seen.epoch_seconds == pytest.approx(0.01 * len(FEW.val))
    assert seen.fixed_seconds == pytest.approx(2 * 0.01 * (len(FEW.val) + len(FEW.test)))
    assert seen.seconds == pytest.approx(3 * 5 * 5.5 + 3 * seen.epoch_seconds + seen.fixed_seconds)


def test_timing_ends_when_its_patience_does_but_not_before_two_warm_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[float] = []
    real = Loop.trial

    def trial(self: Loop, task: Any, steps: int) -> Iterator[float]:
        for seconds in real(self, task, steps):
            made.append(seconds)
            yield seconds

    monkeypatch.setattr(Loop, "trial", trial)
    forecast(little(), FEW, Training(epochs=9), patience=0.0)
    assert len(made) == 4
    made.clear()
    forecast(little(), FEW, Training(epochs=9))
    assert len(made) == 12


def test_every_part_is_corrected_by_the_share_that_it_got(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0, 0.0]
    monkeypatch.setattr(timing, "overfull", lambda: True)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(timing.time, "thread_time", lambda: now[1])
    parts = []
    for wall, worked in ((10.0, 2.0), (4.0, 3.9)):
        with timing.Clock() as clock:
            now[0] += wall
            now[1] += worked
        parts.append((clock.wall, clock.free))
    assert parts == [(10.0, pytest.approx(2.0)), (4.0, 4.0)]
