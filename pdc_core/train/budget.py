"""How many images and epochs fill a time budget."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pdc_core.durations import duration
from pdc_core.errors import PDCError
from pdc_core.train.batches import steps_per_epoch
from pdc_core.train.timing import Forecast

LEAST_EPOCHS = 2  # of a run in a budget
FULL = 0.85  # of the time for epochs that whole epochs of all images have to fill; else one more epoch of fewer images


@dataclass(frozen=True)
class Length:
    """How long a run is.

    Attributes
    ----------
    images : int
        Training images.
    epochs : int
        Passes over them.
    """

    images: int
    epochs: int


def fit_length(found: Forecast, budget: float, spent: float, images: int, batch_size: int, classes: int) -> Length:
    """Return the images and epochs that fill a time budget: most images first, in at least two epochs.

    Parameters
    ----------
    found : Forecast
        Of a run like it, of any length.
    budget : float
        Seconds for the whole run, above 0.
    spent : float
        Seconds that have passed, timing included.
    images : int
        Most training images, 2 or more.
    batch_size : int
        Images per step.
    classes : int
        Classes of the data; every one needs an image.

    Raises
    ------
    PDCError
        The budget is too short for two epochs of a single step.
    """
    step, between, left = found.mean_seconds, found.epoch_seconds, budget - spent - found.fixed_seconds
    least = max(1, math.ceil(classes / batch_size))
    shortest = LEAST_EPOCHS * (least * step + between)
    if left < shortest or step <= 0:
        needed = math.ceil(1.1 * (spent + found.fixed_seconds + shortest))
        raise PDCError(
            f"A budget of {duration(budget)} is too short: loading, clustering and measuring take about "
            f"{duration(spent + found.fixed_seconds)} here, and {LEAST_EPOCHS} epochs of {least} step"
            f"{'s' if least > 1 else ''} {duration(shortest)}; give at least {duration(needed)}, or no budget."
        )
    epoch = steps_per_epoch(images, batch_size) * step + between
    epochs = int(left / epoch)
    if epochs >= LEAST_EPOCHS and epochs * epoch >= FULL * left:
        return Length(images, min(epochs, 100_000))
    more = max(LEAST_EPOCHS, epochs + 1)
    if more > LEAST_EPOCHS and left < more * (least * step + between):  # one more epoch is mostly measuring
        return Length(images, epochs)
    epochs = more
    fitting = max(least, int((left / epochs - between) / step))
    return Length(min(images, max(2, fitting * batch_size)), epochs)
