"""The learning rate as a function of the step alone, so that no schedule has a state to lose."""

from __future__ import annotations

import math

from pdc_core.train.settings import Training

RISE = 0.3  # share of a one-cycle run over which the rate rises, and what it starts from; as torch's OneCycleLR
START = 1 / 25


def rate(settings: Training, step: int, steps: int) -> float:
    """Return the learning rate of a step.

    Parameters
    ----------
    settings : Training
        lr, lr_schedule, milestones, lr_gamma, warmup and epochs are read.
    step : int
        0 to steps - 1.
    steps : int
        Steps of the whole run.

    Examples
    --------
    >>> settings = Training(epochs=4, lr=1.0, warmup=1)
    >>> [round(rate(settings, step, 8), 3) for step in range(8)]
    [0.5, 1.0, 1.0, 0.933, 0.75, 0.5, 0.25, 0.067]
    """
    highest = settings.highest_lr(steps)
    if settings.lr_schedule == "onecycle":
        top = RISE * steps
        if step < top:
            return highest * (START + (1 - START) * _half_cosine(1 - step / top))
        return highest * _half_cosine((step - top) / (steps - top))
    warm = round(settings.warmup * steps / settings.epochs)
    if step < warm:
        return highest * (step + 1) / warm
    progress = (step - warm) / (steps - warm)
    if settings.lr_schedule == "cosine":
        return highest * _half_cosine(progress)
    if settings.lr_schedule == "step":
        return highest * settings.lr_gamma ** sum(step / steps >= share for share in settings.milestones)
    return highest


def _half_cosine(progress: float) -> float:
    """Fall from 1 to 0 while progress goes from 0 to 1."""
    return 0.5 * (1 + math.cos(math.pi * progress))
