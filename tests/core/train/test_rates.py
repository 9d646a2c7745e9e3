"""Learning rates against torch's own schedulers."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.optim import lr_scheduler

from pdc_core.train import Training
from pdc_core.train.rates import rate

STEPS = 40


def by_torch(make) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)
    scheduler = make(optimizer)
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("settings", "oracle"),
    [
        ({"lr_schedule": "cosine"}, lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS)),
        ({"lr_schedule": "step"}, lambda o: lr_scheduler.MultiStepLR(o, [20, 30], 0.1)),
        ({"lr_schedule": "constant"}, lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    ],
)
def test_a_schedule_is_torchs(settings, oracle) -> None:
    ours = [rate(Training(epochs=4, lr=0.2, **settings), step, STEPS) for step in range(STEPS)]
    assert ours == pytest.approx(by_torch(oracle))


def test_one_cycle_rises_over_three_tenths_from_a_25th_and_falls_to_nothing() -> None:
    ours = [rate(Training(lr=0.2, lr_schedule="onecycle"), step, 100) for step in range(100)]
    assert ours[0] == pytest.approx(0.2 / 25)
    assert max(ours) == ours[30] == pytest.approx(0.2)
    assert all(a < b for a, b in itertools.pairwise(ours[:31]))
    assert all(a > b for a, b in itertools.pairwise(ours[30:]))
    assert ours[-1] < 0.2 / 1000


def test_warm_up_rises_in_a_straight_line_to_the_schedule() -> None:
    ours = [rate(Training(epochs=4, lr=0.2, warmup=1, lr_schedule="cosine"), step, STEPS) for step in range(STEPS)]
    assert ours[:10] == pytest.approx([0.02 * (i + 1) for i in range(10)])
    assert ours[10] == pytest.approx(0.2)
    assert ours[25] == pytest.approx(0.1)
